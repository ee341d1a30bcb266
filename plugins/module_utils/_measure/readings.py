# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was read during a migration: the transaction fills it, result.py evaluates it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .._guest.telemetry import Channel
from .._host.qmp import Event
from .instruments import SchedStat


@dataclass
class Readings:
    """Raw readings. Times are the destination's CLOCK_MONOTONIC in seconds; None means not read."""

    events: list[tuple[float, Event]] = field(default_factory=list)
    clock_offset_s: tuple[float, float] | None = None
    sched: SchedStat | None = None
    source_channel: Channel | None = None
    destination_channel: Channel | None = None
    source_migrate: dict[str, Any] = field(default_factory=dict)
    destination_migrate: dict[str, Any] = field(default_factory=dict)
    capabilities: dict[str, bool] = field(default_factory=dict)
    vcpu_threads: tuple[int, ...] = ()
    requests: list[Any] | None = None
    requests_seen: int | None = None
    prefetch_absent: str | None = None
    cpu_latency_absent: str | None = None
    observation_end_s: float | None = None
    throttled_s: float | None = None
    quota_lifted_s: float | None = None
    released_s: float | None = None
    verified: Any = None
    huge_pages_mb: float | None = None
    thp: str | None = None
    recoveries: int = 0
    connections_lost: list[str] = field(default_factory=list)
    taken_over: bool = False
    was_home: bool = False
    quota_left_over: bool = False

    def time_of(self, host: str, name: str, **data: Any) -> float | None:
        """Time of the first event that matches; None if none does."""
        for time_s, event in self.events:
            if event.host == host and event.name == name and data.items() <= event.data.items():
                return time_s
        return None
