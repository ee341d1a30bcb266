# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""QEMU's events on both hosts, on one clock: the destination's CLOCK_MONOTONIC. They wake whoever waits for one."""

from __future__ import annotations

import threading

from .._host.qmp import Event
from .._measure.clocks import STEP_S, Clocks
from .._measure.readings import Readings

# An event caused by a command arrives within this time.
EVENT_S = 2.0


class EventLog:
    """Appends events to ``readings.events`` as they arrive, from libvirt's thread.

    QEMU stamps them with its host's real-time clock. A clock that was set meanwhile is recorded in
    ``readings.clocks_set``.
    """

    def __init__(self, readings: Readings, clocks: Clocks | None = None) -> None:
        self._readings, self._clocks = readings, clocks or Clocks()
        self._changed = threading.Condition()
        self._news = False
        self._arrived: list[float] = []
        self._source_offset_s = 0.0  # the source's real-time clock minus our CLOCK_MONOTONIC

    def add(self, event: Event) -> None:
        arrived_s = self._clocks.monotonic()
        ours = self._clocks.offset_s()
        with self._changed:
            if self._clocks.were_set(*ours):
                self._readings.clocks_set.add("destination")
            time_s, bound_s = event.realtime_s - ours[0], ours[1] + STEP_S
            if event.host == "source":
                known = self._readings.clock_bound_s(arrived_s)
                time_s = arrived_s if known is None else event.realtime_s - self._source_offset_s
                bound_s = known or 0.0
            self._check(event.host, time_s, arrived_s, bound_s)
            self._readings.events.append((time_s, event))
            self._arrived.append(arrived_s)
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
        """Record the source's clock minus ours: it timestamped the migration's start between these two times.

        :param before_s: CLOCK_MONOTONIC before the command, in seconds.
        :param after_s: CLOCK_MONOTONIC after it.
        """
        events = self._readings.events

        def stamped_s() -> float | None:
            for (_time, event), arrived_s in zip(events, self._arrived, strict=True):
                started = event.name == "MIGRATION" and event.data.get("status") == "setup"
                if event.host == "source" and started and arrived_s >= before_s:
                    return event.realtime_s
            return None

        with self._changed:
            # The event may follow the command's reply, and the source's later ones need the offset.
            self._changed.wait_for(stamped_s, timeout=EVENT_S)
            source_s = stamped_s()
            if source_s is None:
                return
            self._source_offset_s, bound_s = source_s - (before_s + after_s) / 2, (after_s - before_s) / 2
            self._readings.clock_measured_s = after_s
            self._readings.clock_offset_s = (self._source_offset_s - self._clocks.offset_s()[0], bound_s)
            # Until now the source's events had the times of their arrival. Older ones keep them, since the clock may
            # have been set after them.
            for index, (_time, event) in enumerate(events):
                if event.host == "source" and self._arrived[index] >= before_s:
                    time_s = event.realtime_s - self._source_offset_s
                    self._check("source", time_s, self._arrived[index], bound_s)
                    events[index] = time_s, event

    def _check(self, host: str, time_s: float, arrived_s: float, bound_s: float) -> None:
        """An event cannot arrive before it happened; if its stamp says so, its host's clock was set forward."""
        if time_s > arrived_s + bound_s:
            self._readings.clocks_set.add(host)
