# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was read during a migration: the transaction fills it, result.py evaluates it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .._guest.telemetry import Channel
from .._host.qmp import Event
from .clocks import DRIFT
from .instruments import Processors, SchedStat
from .series import Trace


@dataclass
class Readings:
    """Raw readings. Times are the destination's CLOCK_MONOTONIC in seconds; None means not read.

    :ivar events_before_switch: how many events had arrived at ``switch_requested_s``.
    :ivar clock_offset_s: the source's real-time clock minus ours, with the bound of the error at ``clock_measured_s``.
    :ivar processors_before: this host's before the baseline, and ``processors_after`` once all was observed.
    :ivar clocks_set: hosts whose real-time clock was set while events were stamped with it.
    """

    events: list[tuple[float, Event]] = field(default_factory=list)
    switch_requested_s: float | None = None
    events_before_switch: int | None = None
    clock_offset_s: tuple[float, float] | None = None
    clock_measured_s: float = 0.0
    clocks_set: set[str] = field(default_factory=set)
    sched: SchedStat | None = None
    processors_before: Processors | None = None
    processors_after: Processors | None = None
    source_channel: Channel | None = None
    destination_channel: Channel | None = None
    source_migrate: dict[str, Any] = field(default_factory=dict)
    destination_migrate: dict[str, Any] = field(default_factory=dict)
    capabilities: dict[str, bool] = field(default_factory=dict)
    vcpu_threads: tuple[int, ...] = ()
    trace: Trace | None = None
    requests_seen: int | None = None
    not_measured: list[str] = field(default_factory=list)
    prefetch_absent: str | None = None
    encrypted: bool | None = None
    cpu_latency_absent: str | None = None
    observation_end_s: float | None = None
    throttled_s: float | None = None
    tighter_quota: str | None = None
    quota_lifted_s: float | None = None
    released_s: float | None = None
    verified: Any = None
    huge_pages_mb: float | None = None
    thp: str | None = None
    recoveries: int = 0
    connections_lost: list[str] = field(default_factory=list)
    taken_over: bool = False
    was_home: bool = False
    was_paused: bool = False
    resumed: bool = False
    run_state: str | None = None
    quota_left_over: bool = False
    settings_left_over: bool = False

    def clock_bound_s(self, time_s: float) -> float | None:
        """The bound of the error in a time of the source; None if the clocks were not compared."""
        if self.clock_offset_s is None:
            return None
        return self.clock_offset_s[1] + DRIFT * abs(time_s - self.clock_measured_s)

    def time_of(self, host: str, name: str, **data: Any) -> float | None:
        """Time of the first event that matches; None if none does."""
        for time_s, event in self.events:
            if event.host == host and event.name == name and data.items() <= event.data.items():
                return time_s
        return None
