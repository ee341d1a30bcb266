# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a migration is asked to do, and what was read while it ran: the transaction fills it, result.py evaluates it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._destination.policies import Policy, policy
from .._guest.telemetry import Channel
from .._host.qmp import Event
from .instruments import SchedStat


@dataclass(frozen=True)
class Settings:
    """What to migrate and how; names and units are those of the module's options."""

    name: str
    source_uri: str
    destination_uri: str
    migration_address: str
    vcpu_quota_percent: int
    vcpu_period_us: int
    vcpu_quota_until: str
    prefetch_pages: int
    prefetch_policy: str
    prefetch_max_pages: int | None
    transfer: str
    postcopy_preempt: bool | None
    max_postcopy_bandwidth_mb_per_s: float
    prefetch_program: Path
    window_mb: int | None
    baseline_s: float
    observation_s: float | None
    verify: bool
    end_guest: bool
    cpu_latency_us: int | None
    timeout_s: float
    stall_timeout_s: float

    @property
    def policy(self) -> Policy:
        """How page requests are lengthened."""
        return policy(self.prefetch_policy, self.prefetch_pages, self.prefetch_max_pages)

    @property
    def preempt(self) -> bool:
        """Whether requested pages get a channel of their own; demand paging cannot do without."""
        return self.transfer == "demand" if self.postcopy_preempt is None else self.postcopy_preempt

    @property
    def window_pages(self) -> int | None:
        return None if self.window_mb is None else self.window_mb * 256


@dataclass
class Readings:
    """What was read while it ran; filled by the transaction, evaluated by result.py. Times: CLOCK_MONOTONIC, s."""

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
    recoveries: int = 0
    connections_lost: list[str] = field(default_factory=list)
    taken_over: bool = False
    was_home: bool = False
    quota_left_over: bool = False

    def time_of(self, host: str, name: str, **data: Any) -> float | None:
        """Time of the first event that matches."""
        for time_s, event in self.events:
            if event.host == host and event.name == name and data.items() <= event.data.items():
                return time_s
        return None
