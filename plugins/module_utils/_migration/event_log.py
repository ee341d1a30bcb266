# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""QEMU's events on both hosts, on one clock: the destination's CLOCK_MONOTONIC. They wake whoever waits for one."""

from __future__ import annotations

import threading
import time

from .._host.qmp import Event
from .._measure.readings import Readings

# An event caused by a command arrives within this time.
EVENT_S = 2.0


class EventLog:
    """Appends events to ``readings.events`` as they arrive, from libvirt's thread."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings
        self._changed = threading.Condition()
        self._news = False
        self._realtime_to_monotonic = time.monotonic() - time.time()

    def add(self, event: Event) -> None:
        offset_s = 0.0
        if event.host == "source" and self._readings.clock_offset_s is not None:
            offset_s = self._readings.clock_offset_s[0]
        with self._changed:
            self._readings.events.append((event.realtime_s - offset_s + self._realtime_to_monotonic, event))
            self._news = True
            self._changed.notify_all()

    def wake(self) -> None:
        """Make ``sleep`` report news."""
        # Without the lock, which a signal handler's own thread may hold.
        self._news = True

    def sleep(self, time_s: float) -> bool:
        """Sleep for that long or until something happens; returns whether anything has since the last call."""
        with self._changed:
            if not self._news:
                self._changed.wait(time_s)
            news, self._news = self._news, False
            return news

    def measure_clock_offset(self, before_s: float, after_s: float) -> None:
        """Record the source's clock minus ours: it timestamped the migration's start between these two of our times.

        :param before_s: our real-time clock before the command, in seconds.
        :param after_s: our real-time clock after it.
        """

        def stamped_s() -> float | None:
            for _time, event in self._readings.events:
                if event.host == "source" and event.name == "MIGRATION" and event.data.get("status") == "setup":
                    return event.realtime_s
            return None

        with self._changed:
            # The event may follow the command's reply, and the source's later ones need the offset.
            self._changed.wait_for(stamped_s, timeout=EVENT_S)
            source_s = stamped_s()
            if source_s is not None:
                self._readings.clock_offset_s = (source_s - (before_s + after_s) / 2, (after_s - before_s) / 2)
