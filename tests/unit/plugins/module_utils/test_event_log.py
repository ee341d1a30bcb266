# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Events of two hosts whose real-time clocks are wrong, and are set while a migration runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import Event
from ansible_collections.vcsp.testbed.plugins.module_utils._measure import moments
from ansible_collections.vcsp.testbed.plugins.module_utils._measure.clocks import DRIFT, STEP_S, Clocks
from ansible_collections.vcsp.testbed.plugins.module_utils._measure.readings import Readings
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.event_log import EventLog

# True times of a migration's events in seconds, on the destination's CLOCK_MONOTONIC.
EVENTS = (
    (5.0, "source", "STOP", None),
    (6.0, "source", "RESUME", None),
    (10.0, "source", "MIGRATION", "setup"),
    (10.02, "source", "STOP", None),
    (10.021, "source", "MIGRATION", "postcopy-active"),
    (10.035, "destination", "RESUME", None),
    (12.0, "destination", "MIGRATION", "completed"),
    (12.002, "source", "MIGRATION", "completed"),
)
COMMAND_S = 0.001  # the command that starts the migration takes so long before the event, and after
LAG_S = 0.003  # an event is on its way for so long
BOOT_S = 1_790_000_000.0  # the destination's clock at CLOCK_MONOTONIC 0


@dataclass
class World:
    """Two hosts with clocks that can be set.

    :ivar now: CLOCK_MONOTONIC of the destination.
    :ivar offsets: real-time clocks minus that, at the start.
    :ivar steps: by host, when its clock is set, and how far.
    :ivar drift: seconds that the source's clock gains per second.
    """

    offsets: dict[str, float]
    steps: dict[str, tuple[float, float]] = field(default_factory=dict)
    drift: float = 0.0
    now: float = 0.0

    def wall(self, host: str, time_s: float) -> float:
        at_s, step_s = self.steps.get(host, (float("inf"), 0.0))
        gained_s = self.drift * time_s if host == "source" else 0.0
        return time_s + self.offsets[host] + gained_s + (step_s if time_s >= at_s else 0.0)

    def migrate(self, events: Iterable[tuple[float, str, str, str | None]] = EVENTS) -> Readings:
        """The readings of a migration with these events."""
        readings = Readings()
        log = EventLog(readings, Clocks(lambda: self.now, lambda: self.wall("destination", self.now)))
        for time_s, host, name, status in events:
            self.now = time_s + LAG_S
            if name == "STOP" and time_s > 10:
                readings.switch_requested_s = time_s - COMMAND_S
                readings.events_before_switch = len(readings.events)
            log.add(Event(host, name, {} if status is None else {"status": status}, self.wall(host, time_s)))
            if status == "setup":
                log.measure_clock_offset(time_s - COMMAND_S, time_s + COMMAND_S)
        return readings


def times(readings: Readings) -> list[float]:
    return [time_s for time_s, _event in readings.events]


def test_events_are_on_the_destinations_monotonic_clock_whatever_the_wall_clocks_say() -> None:
    readings = World({"source": BOOT_S - 7200.5, "destination": BOOT_S}).migrate()
    true = [time_s for time_s, *_rest in EVENTS]
    assert times(readings)[2:] == pytest.approx(true[2:], abs=1e-5)
    assert times(readings)[:2] == pytest.approx(true[:2], abs=LAG_S + 1e-5)  # of arrival: no offset is known yet
    assert readings.clock_offset_s == pytest.approx((-7200.5, COMMAND_S), abs=1e-5)
    assert moments.clocks_set(readings) == []
    assert moments.stopped_s(readings) == pytest.approx(10.02, abs=1e-5)


def test_an_earlier_attempt_does_not_serve_to_measure_the_offset() -> None:
    readings = Readings()
    world = World({"source": BOOT_S + 3, "destination": BOOT_S})
    log = EventLog(readings, Clocks(lambda: world.now, lambda: world.wall("destination", world.now)))
    for world.now in (1.0, 10.0):
        log.add(Event("source", "MIGRATION", {"status": "setup"}, world.wall("source", world.now)))
    log.measure_clock_offset(9.999, 10.001)
    assert readings.clock_offset_s == pytest.approx((3.0, 0.001), abs=1e-5)


# A step by less than events are on their way, and clocks may drift apart, breaks no order.
UNSEEN_S = LAG_S + COMMAND_S + 2 * DRIFT


@given(
    st.sampled_from(["source", "destination"]),
    st.floats(0, 13),
    st.floats(-86400, 86400).filter(lambda step_s: abs(step_s) > UNSEEN_S + 1e-4),
)
def test_a_clock_that_is_set_changes_no_number_or_makes_the_trial_invalid(
    host: str, at_s: float, step_s: float
) -> None:
    readings = World({"source": BOOT_S + 1, "destination": BOOT_S}, {host: (at_s, step_s)}).migrate()
    found = (moments.stopped_s(readings), moments.resumed_s(readings), moments.completed_s(readings))
    right = found == pytest.approx((10.02, 10.035, 12.0), abs=STEP_S)
    assert right or moments.clocks_set(readings) == [host]
    if moments.clocks_set(readings) == []:
        assert moments.pauses(readings, 5.5) == {"in the baseline": pytest.approx(1.0, abs=STEP_S)}


@given(st.floats(-UNSEEN_S, UNSEEN_S), st.floats(0, 13))
def test_a_step_too_small_to_be_seen_changes_no_number_by_more_than_itself(step_s: float, at_s: float) -> None:
    readings = World({"source": BOOT_S, "destination": BOOT_S}, {"source": (at_s, step_s)}).migrate()
    assert moments.stopped_s(readings) == pytest.approx(10.02, abs=abs(step_s) + 1e-5)


@given(st.floats(-DRIFT, DRIFT), st.floats(0, 3600))
def test_clocks_that_drift_apart_were_not_set(drift: float, longer_s: float) -> None:
    events = [(time_s + (longer_s if time_s > 11 else 0), *rest) for time_s, *rest in EVENTS]
    readings = World({"source": BOOT_S, "destination": BOOT_S}, drift=drift).migrate(events)
    assert moments.clocks_set(readings) == []
    assert moments.stopped_s(readings) == pytest.approx(10.02, abs=1e-4)


def test_this_hosts_clocks_agree_with_themselves() -> None:
    clocks = Clocks()
    assert not clocks.were_set(*clocks.offset_s())
