# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The moments of a migration, chosen among QEMU's events: others may pause, resume and migrate the same guest.

Times are the destination's CLOCK_MONOTONIC in seconds.
"""

from __future__ import annotations

from .pauses import paused_s
from .readings import Readings


def stopped_s(readings: Readings) -> float | None:
    """Time of the migration's own stop, the last on the source; None if the guest was paused or runs there."""
    last = _last_run(readings)
    return None if last is None or paused_at_switch(readings) or last[2] != "STOP" else last[1]


def began_s(readings: Readings) -> float | None:
    """Time at which the migration began on the source: QEMU then logs what the guest writes, which slows it."""
    stopped = stopped_s(readings)
    setups = [
        time_s
        for time_s, event in readings.events
        if (event.host, event.name, event.data.get("status")) == ("source", "MIGRATION", "setup")
    ]
    return max((time_s for time_s in setups if stopped is not None and time_s <= stopped), default=None)


def paused_at_switch(readings: Readings) -> bool:
    """Whether somebody had paused the guest before the switch, so that the migration had nothing to stop."""
    last, before = _last_run(readings), readings.events_before_switch
    return last is not None and before is not None and last[2] == "STOP" and last[0] < before


def resumed_s(readings: Readings) -> float | None:
    """Time at which the guest first ran on the destination; later resumes end a pause."""
    return readings.time_of("destination", "RESUME")


def completed_s(readings: Readings) -> float | None:
    """Time of the last page; a later completion is that of a migration to elsewhere."""
    return readings.time_of("destination", "MIGRATION", status="completed")


def pauses(readings: Readings, baseline_s: float) -> dict[str, float]:
    """Seconds for which the guest was paused by somebody else, by where in the trial that counts."""
    began, stopped = began_s(readings), stopped_s(readings)
    resumed, completed = resumed_s(readings), completed_s(readings)
    found = {}
    if began is not None and stopped is not None:
        found["in the baseline"] = paused_s(_of(readings, "source"), began - baseline_s, stopped)
    end = readings.observation_end_s
    if resumed is not None and (end is not None or completed is not None):
        where = "during post-copy" if end is None else "in the observation window"
        found[where] = paused_s(_of(readings, "destination"), resumed, max(end or 0.0, completed or 0.0))
    return {where: time_s for where, time_s in found.items() if time_s > 0}


def clocks_set(readings: Readings) -> list[str]:
    """The hosts whose real-time clock was set while events were stamped with it.

    The source stops after it was asked to switch, and completes once it has heard that the destination has (QEMU
    migration.c, close_return_path_on_source). If its stamps say otherwise, its clock was set back after the offset was
    measured, just before the switch.
    """
    source_completed = readings.time_of("source", "MIGRATION", status="completed")
    pairs = (readings.switch_requested_s, stopped_s(readings)), (completed_s(readings), source_completed)
    found = set(readings.clocks_set)
    for before, on_source in pairs:
        if before is not None and on_source is not None:
            bound_s = readings.clock_bound_s(before)
            found |= {"source"} if bound_s is not None and on_source < before - bound_s else set()
    return sorted(found)


def _of(readings: Readings, host: str) -> list[tuple[float, str]]:
    return [(time_s, event.name) for time_s, event in readings.events if event.host == host]


def _last_run(readings: Readings) -> tuple[int, float, str] | None:
    """Position, time and name of the source's last ``STOP`` or ``RESUME``."""
    for index in reversed(range(len(readings.events))):
        time_s, event = readings.events[index]
        if event.host == "source" and event.name in ("STOP", "RESUME"):
            return index, time_s, event.name
    return None
