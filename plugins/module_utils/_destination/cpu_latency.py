# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A bound on how long processors may take to wake up while something is measured (PM QoS: admin-guide/pm/cpuidle.rst).

A page fault over the wire wakes up four threads. Where idle processors sleep deeply, or are themselves virtual, most of
its time would be wake-ups, and their scatter hides what methods differ by. The kernel drops the bound with the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEVICE = Path("/dev/cpu_dma_latency")


@contextmanager
def bounded(latency_us: int | None, device: Path = DEVICE) -> Iterator[str | None]:
    """Hold the bound; yields why it is not in force, or None.

    :param latency_us: longest wake-up in microseconds, 0 for processors that do not sleep at all; None holds nothing.
    """
    if latency_us is None:
        yield "not asked for"
        return
    try:
        file = device.open("wb", buffering=0)
    except OSError as error:
        yield f"the kernel takes no bound: {error}"
        return
    with file:
        try:
            file.write(struct.pack("=i", latency_us))
        except OSError as error:
            yield f"the kernel refuses the bound: {error}"
            return
        yield None
