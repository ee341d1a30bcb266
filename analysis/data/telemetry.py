# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the guest reported of its progress, ``telemetry.csv``, and the throughput that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...plugins.plugin_utils._records.errors import InputError
from ...plugins.plugin_utils._records.printable import printable
from ...plugins.plugin_utils._records.regular import read_regular

TELEMETRY_FILE = "telemetry.csv"
HEADER = ("time_s", "host", "pages", "stalls", "stall_ms")
PAGES_PER_MB = 256
SAMPLE_S = 0.1
# A trial takes minutes.
MOST_S = 86_400.0
_MOST_PAGES = 2.0**53  # what a float counts exactly
_MOST_MIB = 256

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Telemetry:
    """Reports of the guest in order of time, all of equal length.

    :ivar pages: pages of 4 KiB walked so far
    :ivar stalls: stalls so far; None in imported data
    :ivar stall_ms: how long they took together; None in imported data
    """

    time_s: Values
    pages: Values
    stalls: Values | None = None
    stall_ms: Values | None = None


def read_telemetry(path: Path) -> Telemetry:
    """Read a ``telemetry.csv``, or return what was read of it before if it has not changed since.

    :raises InputError: the file is not readable, has another header, is truncated, counts backwards, or has
        values that no guest could report
    """
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}") from None
    return _read(path, (status.st_ino, status.st_size, status.st_mtime_ns))


# Experiments have hundreds of trials; with thousands, memory matters more than reading some of them twice.
@lru_cache(maxsize=2_000)
def _read(path: Path, _version: tuple[int, ...]) -> Telemetry:
    try:
        lines = read_regular(path, _MOST_MIB).decode("utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path.name} is not CSV text: {error}") from None
    if not lines or lines[0] != ",".join(HEADER):
        raise InputError(f"{path.name} does not begin with {','.join(HEADER)}")
    rows = lines[1:]
    odd = next((row.count(",") for row in rows if row.count(",") != len(HEADER) - 1), None)
    if odd is not None:
        raise InputError(
            f"{path.name}: a line has {odd + 1} fields instead of {len(HEADER)}; the file is truncated or not from the"
            " testbed"
        )
    if len(rows) < 2:
        raise InputError(f"{path.name} holds fewer than two reports")
    columns = (0, 2) if rows[0].endswith(",,") else (0, 2, 3, 4)
    try:
        numbers = np.loadtxt(rows, delimiter=",", comments=None, usecols=columns, ndmin=2)
    except ValueError as error:
        raise InputError(f"{path.name}: {printable(str(error))}") from None
    time_s, pages = numbers[:, 0], numbers[:, 1]
    if not np.isfinite(numbers).all():
        raise InputError(f"{path.name} holds a number that is not finite")
    if np.abs(time_s).max() > MOST_S:
        raise InputError(f"{path.name} spans more than {MOST_S:,.0f} s")
    if np.abs(pages).max() > _MOST_PAGES:
        raise InputError(f"{path.name} counts pages that no guest could have walked")
    if (np.diff(time_s) < 0).any() or (np.diff(pages) < 0).any():
        raise InputError(f"{path.name} counts backwards")
    return Telemetry(time_s, pages, *numbers.T[2:])


def throughput_samples(telemetry: Telemetry) -> tuple[npt.NDArray[np.int64], Values]:
    """Return the throughput in samples of `SAMPLE_S`: their numbers and their MB/s, of equal length.

    Sample ``k`` covers the time from ``k`` to ``k + 1`` tenths of a second, so that 0 begins at the origin of the
    clock. The work between two reports is spread evenly over the time between them: a stalled guest does not report.
    """
    # The small tolerance keeps a report at 0.3 s, which is not a binary fraction, in its own sample.
    first = int(np.ceil(telemetry.time_s[0] / SAMPLE_S - 1e-6))
    last = int(np.floor(telemetry.time_s[-1] / SAMPLE_S + 1e-6))
    edges = np.arange(first, max(first, last) + 1)
    walked = np.interp(edges * SAMPLE_S, telemetry.time_s, telemetry.pages)
    return edges[:-1].astype(np.int64), np.diff(walked) / PAGES_PER_MB / SAMPLE_S
