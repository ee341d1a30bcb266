# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measurements that follow from other parts of the same record, by which a wrong unit or a changed value shows.

As in ``validity``, a rule says nothing where the record lacks the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .events import time_of_s

PAGES_PER_MB = 256
KB_PER_PAGE = 4
# A page is requested once, or a few times when it is late: 1.4 requests a page in the data of the paper's authors.
MOST_REQUESTS_PER_PAGE = 4
# Unit of a duration, by the end of its name -> how many make a second.
_PER_SECOND = {"_s": 1.0, "_ms": 1000.0}
_DURATIONS = ("total_migration_time_s", "window_walk_s", "downtime_ms", "stop_and_copy_ms")

_Record = Mapping[str, Any]


@dataclass(frozen=True)
class Recomputed:
    """A measurement and what gives its value a second time.

    :ivar value: returns the second value; None if the record lacks the data
    :ivar source: what it comes from
    :ivar tolerance: absolute, in the measurement's unit
    :ivar share: relative tolerance
    """

    measurement: str
    title: str
    unit: str
    value: Callable[[_Record], float | None]
    source: str
    tolerance: float
    share: float = 0.0

    def problem(self, record: _Record) -> str | None:
        """Return how the two values differ; None if they do not, or if one is missing."""
        stated, found = record["measurements"].get(self.measurement), self.value(record)
        if stated is None or found is None or abs(stated - found) <= self.tolerance + self.share * abs(found):
            return None
        return f"{self.title} is {_number(stated)} {self.unit}, by {self.source} {_number(found)} {self.unit}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def stopped_s(record: _Record) -> float | None:
    """Return when the source stopped for a post-copy migration that its events show from stop to resume."""
    events = record["events"]
    if time_of_s(events, "source", "MIGRATION", "postcopy-active") is None or _resumed_s(record) is None:
        return None
    runs = [e for e in events if e["host"] == "source" and e["name"] in ("STOP", "RESUME") and e["time_s"] is not None]
    last = max(runs, key=lambda event: float(event["time_s"]), default=None)
    return None if last is None or last["name"] != "STOP" else float(last["time_s"])


def _resumed_s(record: _Record) -> float | None:
    return time_of_s(record["events"], "destination", "RESUME")


def _blackout_ms(record: _Record) -> float | None:
    stop_s, resumed_s = stopped_s(record), _resumed_s(record)
    return None if stop_s is None or resumed_s is None else 1000 * (resumed_s - stop_s)


def _total_s(record: _Record) -> float | None:
    stop_s, completed_s = stopped_s(record), time_of_s(record["events"], "destination", "MIGRATION", "completed")
    stated_s = record["measurements"]["total_migration_time_s"]
    if stop_s is None or completed_s is None or stated_s is None:
        return None
    # Early records begin at the status instead of the stop.
    active_s = time_of_s(record["events"], "source", "MIGRATION", "postcopy-active")
    starts = [start_s for start_s in (stop_s, active_s) if start_s is not None]
    return min((completed_s - start_s for start_s in starts), key=lambda total_s: abs(total_s - stated_s))


def _read(instrument: str, value: str) -> Callable[[_Record], float | None]:
    def of(record: _Record) -> float | None:
        return _amount(_values(record, instrument).get(value))

    return of


def _values(record: _Record, instrument: str) -> Mapping[str, Any]:
    found = record["instruments"].get(instrument)
    values: Mapping[str, Any] = found["values"] if found and found["present"] else {}
    return values


def _amount(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _vcpu_waits_ms(record: _Record) -> float | None:
    waits = _values(record, "schedstat").get("vcpu_page_wait_ms")
    amounts = [_amount(wait) for wait in waits] if isinstance(waits, list) else []
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known and len(known) == len(amounts) else None


def _link_mbit_per_s(record: _Record) -> float | None:
    sent_kb, total_s = (record["measurements"][name] for name in ("sent_kb", "total_migration_time_s"))
    return None if sent_kb is None or not total_s else float(sent_kb * 1024 * 8 / 1e6 / total_s)


def _slow_down_percent(record: _Record) -> float | None:
    steady, baseline = (record["measurements"][f"{name}_mb_per_s"] for name in ("steady", "baseline"))
    return None if steady is None or not baseline else float(100 * (1 - steady / baseline))


def _stall_loss_s(record: _Record) -> float | None:
    throughput, steady = (record["measurements"][f"{name}_mb_per_s"] for name in ("throughput", "steady"))
    resumed_s, end_s = _resumed_s(record), time_of_s(record["events"], "module", "OBSERVATION_END")
    if throughput is None or not steady or resumed_s is None or end_s is None:
        return None
    return float((end_s - resumed_s) * (1 - throughput / steady))


RECOMPUTED = (
    Recomputed("stop_and_copy_ms", "blackout", "ms", _blackout_ms, "its events", 1.0),
    Recomputed("total_migration_time_s", "total migration time", "s", _total_s, "its events", 0.001),
    Recomputed("page_wait_ms", "page wait", "ms", _read("schedstat", "page_wait_ms"), "schedstat", 1.0),
    Recomputed("page_wait_ms", "page wait", "ms", _vcpu_waits_ms, "schedstat of each vCPU", 1.0),
    Recomputed("throttled_ms", "throttled time", "ms", _read("cgroup", "throttled_ms"), "the cgroup", 1.0),
    Recomputed(
        "link_mbit_per_s", "link rate", "Mbit/s", _link_mbit_per_s, "data sent and total migration time", 0.5, 0.01
    ),
    Recomputed("slow_down_percent", "slow-down", "%", _slow_down_percent, "steady and baseline rate", 0.1, 0.01),
    Recomputed("stall_loss_s", "stall loss", "s", _stall_loss_s, "throughput and steady rate", 0.01, 0.01),
)


def implausible(record: _Record) -> str | None:
    """Return which measurement is impossible, whatever measured it; None if none is."""
    measured, guest = record["measurements"], record["trial"]["guest"]
    downtime_ms, total_s, requests = (
        measured[name] for name in ("downtime_ms", "total_migration_time_s", "page_requests")
    )
    if downtime_ms is not None and total_s is not None and downtime_ms > 1000 * total_s * (guest["vcpus"] or 1) + 1:
        return f"downtime of {_number(downtime_ms)} ms is longer than the migration, {_number(total_s)} s"
    if requests is not None and requests > MOST_REQUESTS_PER_PAGE * PAGES_PER_MB * guest["memory_mb"]:
        return f"{requests:.0f} page requests are more than {MOST_REQUESTS_PER_PAGE} for each page of the guest"
    pages, sent_kb = measured["pages_sent"], measured["sent_kb"]
    if pages is not None and sent_kb is not None and pages * KB_PER_PAGE > 1.01 * sent_kb + KB_PER_PAGE:
        return f"{pages:.0f} pages sent are more than {sent_kb:.0f} KB"
    return None


def longer_than_trial(record: _Record) -> str | None:
    """Return which duration is longer than the trial was; None if none is, or if a clock was set back meanwhile."""
    start, end = record["started_at"], record["ended_at"]
    if start is None or end is None:
        return None
    # A clock that was corrected meanwhile is no contradiction.
    most_s = 60 + 2 * (_time_s(end) - _time_s(start))
    for name in _DURATIONS:
        value = record["measurements"][name]
        title, _, unit = name.rpartition("_")
        if value is not None and most_s > 60 and value / _PER_SECOND[f"_{unit}"] > most_s:
            return f"{title.replace('_', ' ')} of {_number(value)} {unit} is longer than the trial"
    return None


def _time_s(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
