# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a trial records over time, as compressed CSV. Rows are packed as they come: there can be a million."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .._destination.prefetch import Request
from .._guest.telemetry import Sample

# zlib's wbits for a gzip file, and for a bare zlib stream.
GZIP, ZLIB = 31, 15
# Requests that are recorded; further ones are only counted. The kernel keeps 40 bytes for each.
TRACE_MAX = 1 << 20


@dataclass(frozen=True)
class Trace:
    """The recorded page requests.

    :ivar csv: ``requests.csv``, compressed.
    :ivar recorded: its number of requests.
    :ivar gaps: times from one request for guest memory to the next, by the power of two in µs that they reached; what
        is below 1 µs counts as 1 µs. While a vCPU waits for a page it asks for no other, so with a single one no fault
        takes longer than the gap after it.
    """

    csv: bytes
    recorded: int
    asked_bytes: int
    sent_bytes: int
    gaps: Mapping[int, int]


def trace(requests: Iterable[Request], zero_s: float, gzip: bool) -> Trace:
    """Pack the trace, with times relative to ``zero_s``.

    :param gzip: as a file, and not as a bare zlib stream.
    """
    recorded = asked = sent = 0
    gaps: Counter[int] = Counter()
    before_s: float | None = None

    def rows() -> Iterator[str]:
        nonlocal recorded, asked, sent, before_s
        for r in requests:
            if r.block is not None:
                if before_s is not None:
                    gaps[max(1, int((r.time_s - before_s) * 1e6)).bit_length() - 1] += 1
                before_s = r.time_s
            recorded, asked, sent = recorded + 1, asked + r.asked, sent + r.sent
            yield f"{r.time_s - zero_s:.6f},{r.block or ''},{r.start},{r.asked},{r.sent_start},{r.sent}"

    csv = _packed("time_s,block,start,asked,sent_start,sent", rows(), gzip)
    return Trace(csv, recorded, asked, sent, gaps)


def telemetry(samples: Sequence[Sample], zero_s: float, gzip: bool) -> bytes:
    """Pack what the guest reported, with times relative to ``zero_s``."""
    rows = (f"{s.time_s - zero_s:.4f},{s.host},{s.pages},{s.stalls},{s.stall_ms:.3f}" for s in samples)
    return _packed("time_s,host,pages,stalls,stall_ms", rows, gzip)


def _packed(header: str, rows: Iterable[str], gzip: bool) -> bytes:
    packer = zlib.compressobj(wbits=GZIP if gzip else ZLIB)
    found = bytearray(packer.compress(f"{header}\n".encode()))
    for row in rows:
        found += packer.compress(f"{row}\n".encode())
    return bytes(found + packer.flush())
