# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""This host's clocks: CLOCK_MONOTONIC cannot be set; the real-time clock, which stamps QEMU's events, can."""

from __future__ import annotations

import time
from collections.abc import Callable

# A smaller step of a clock changes no number that matters.
STEP_S = 0.001
# How far two clocks may drift apart per second: NTP slews each by up to 500 ppm.
DRIFT = 0.001
READINGS = 5


class Clocks:
    """Compares the two clocks.

    :param monotonic: reads CLOCK_MONOTONIC in seconds.
    :param realtime: reads the real-time clock in seconds since the epoch.
    """

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, realtime: Callable[[], float] = time.time
    ) -> None:
        self.monotonic, self._realtime = monotonic, realtime
        self._first = self.offset_s()

    def offset_s(self) -> tuple[float, float]:
        """The real-time clock minus CLOCK_MONOTONIC, with the bound of the error, in seconds."""

        def read() -> tuple[float, float]:
            before, real, after = self.monotonic(), self._realtime(), self.monotonic()
            return real - (before + after) / 2, (after - before) / 2

        # This thread may have to wait for a processor in between.
        return min((read() for _ in range(READINGS)), key=lambda found: found[1])

    def were_set(self, offset_s: float, bound_s: float) -> bool:
        """Whether the real-time clock was set since the start. Both clocks are slewed alike, so only a step shows."""
        return abs(offset_s - self._first[0]) > STEP_S + bound_s + self._first[1]
