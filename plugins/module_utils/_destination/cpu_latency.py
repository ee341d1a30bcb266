# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A bound on the wake-up latency of processors during a measurement (PM QoS: admin-guide/pm/cpuidle.rst).

A page fault over the network wakes four threads. Where idle processors sleep deeply, or are virtual themselves, most of
its time would be wake-ups, whose scatter hides the differences between methods. Closing the file drops the bound.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEVICE = Path("/dev/cpu_dma_latency")


@contextmanager
def bounded(latency_us: int | None, device: Path = DEVICE) -> Iterator[str | None]:
    """Hold the bound; yields the reason why it is not in force, or None.

    :param latency_us: longest wake-up in microseconds; 0 keeps processors from sleeping, None sets no bound.
    """
    if latency_us is None:
        yield "not requested"
        return
    try:
        file = device.open("wb", buffering=0)
    except OSError as error:
        yield f"the kernel does not support a bound: {error}"
        return
    with file:
        try:
            file.write(struct.pack("=i", latency_us))
        except OSError as error:
            yield f"the kernel rejected the bound: {error}"
            return
        yield None
