# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a migration link is, and what its proof has to show.

Private to vcsp.testbed: it may change in any release. Do not import it from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

QUEUES = ("fair", "fifo")
NO_QUICKACK = (
    "the destination's route to the source lacks quickack, so that acknowledgements are delayed and prefetching gains "
    "less than it could"
)
# What an exchange sends: a request for a page, its acknowledgement or a page with QEMU's header.
REQUEST_BYTES, PAGE_BYTES = 16, 8 + 4096
# Headers of IPv4 and TCP with timestamps, and what an Ethernet frame carries beside them.
HEADER_BYTES, SEGMENT_BYTES = 52, 1448

# How far off an exchange may be, how much of the rate a stream has to reach, and what the emulation may cost.
TIME_TOLERANCE, TIME_TOLERANCE_US = 0.1, 20.0
RATE_SHARE = 0.95
CHEAP_RATE_MBIT, CHEAP_CORES, CORES = 1000, 0.2, 1.0


@dataclass(frozen=True)
class Link:
    """A migration link, in both directions.

    :ivar rate_mbit: Mbit/s of IP packets
    :ivar delay_us: one way, from the sending program to the receiving one, without the packet's own time on the wire
    :ivar queue: ``fair``: connections take turns; ``fifo``: one queue for all
    :ivar congestion_control: the kernel's name for that of TCP
    """

    rate_mbit: int = 1000
    delay_us: int = 100
    queue: str = "fair"
    congestion_control: str = "cubic"

    def problems(self) -> list[str]:
        """What is wrong with it; empty if nothing is."""
        found = []
        if self.rate_mbit < 1:
            found.append(f"rate_mbit: {self.rate_mbit} must be at least 1")
        if not 0 <= self.delay_us <= 1_000_000:
            found.append(f"delay_us: {self.delay_us} is not between 0 and 1000000")
        if self.queue not in QUEUES:
            found.append(f"queue: {self.queue!r} is not one of {', '.join(QUEUES)}")
        if not self.congestion_control.isidentifier():
            found.append(f"congestion_control: {self.congestion_control!r} is no name of one, such as cubic")
        return found

    def exchange_us(self, answer_bytes: int) -> float:
        """Time from a request to its answer, when nothing else is sent."""
        segments = -(-answer_bytes // SEGMENT_BYTES)
        wire_bytes = REQUEST_BYTES + HEADER_BYTES + answer_bytes + segments * HEADER_BYTES
        return 2 * self.delay_us + wire_bytes * 8 / self.rate_mbit


def shortfalls(link: Link, proof: Mapping[str, Any]) -> list[str]:
    """Return in what a link, as proved, is not the one that was asked for; empty if it is.

    :param proof: ``ping_us``, ``page_us`` and ``bulk_mbit_per_s``
    """
    found = []
    for what, key, answer_bytes in (("an exchange", "ping_us", REQUEST_BYTES), ("a page", "page_us", PAGE_BYTES)):
        expected_us = link.exchange_us(answer_bytes)
        if abs(proof[key] - expected_us) > expected_us * TIME_TOLERANCE + TIME_TOLERANCE_US:
            found.append(f"{what} takes {proof[key]:.0f} us instead of {expected_us:.0f}")
    if proof["bulk_mbit_per_s"] < link.rate_mbit * RATE_SHARE:
        found.append(f"a stream reaches {proof['bulk_mbit_per_s']:.0f} of {link.rate_mbit} Mbit/s")
    return found


def is_found(link: Mapping[str, Any]) -> bool:
    """Whether the link of a record was found, on real hosts, and not made as it was asked for."""
    return link["rate_mbit"] is None and link["proof"] is not None


def lacks_quickack(link: Mapping[str, Any] | None) -> bool:
    """Whether the link of a record is known to delay acknowledgements."""
    return link is not None and link.get("quickack") is False


def remarks(link: Link, proof: Mapping[str, Any]) -> list[str]:
    """Return what there is to say of a link, as proved: in what it falls short, and what it costs.

    :param proof: as for :func:`shortfalls`, with ``cost_cores``, the processors that carrying takes from the guests
    """
    found = [f"it is not the one that was asked for: {shortfall}" for shortfall in shortfalls(link, proof)]
    cores = CHEAP_CORES if link.rate_mbit <= CHEAP_RATE_MBIT else CORES
    if proof["cost_cores"] > cores:
        cost = f"{proof['cost_cores'] * 100:.0f} % of a processor, more than {cores * 100:.0f} %"
        found.append(f"it takes {cost}, which the guests lack")
    return found
