# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules that make a trial invalid, as far as its record alone shows.

The testbed judges a trial when it ends and knows more: whether the guest's program kept running, and which capabilities
were in force. Here the same rules are checked again on what was recorded, so that a table does not depend on a single
piece of code. They can take a trial out of a table, but never put one in. A rule says nothing where the record lacks
the data: imported data have no events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...module_utils._measure.pauses import paused_s
from .events import resume_to_completion_ms, time_of_s
from .recomputed import RECOMPUTED, implausible, longer_than_trial

# Beyond these bounds two instruments that see the same thing contradict each other.
REQUESTS_TOLERANCE = 0.02
REQUESTS_TOLERANCE_MIN = 16
TIME_TOLERANCE_MS = 1.0
WINDOW_TOLERANCE_S = 0.1
# A guest that is further off its rate is another one.
RATE_BOUND = 0.25
HOSTS = ("source", "destination")

_Record = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """A rule: its name, what it demands, and a function that returns how a record breaks it, or None."""

    name: str
    rule: str
    problem: Callable[[_Record], str | None]


def broken_rules(record: _Record) -> tuple[str, ...]:
    """Return what makes a record (the content of ``record.json``) invalid, one sentence per broken rule."""
    return tuple(problem for check in CHECKS if (problem := check.problem(record)) is not None)


def _postcopy(record: _Record) -> str | None:
    statuses = _statuses(record)
    if statuses and "postcopy-active" not in statuses:
        return "the migration ended before post-copy began"
    return None


def _undisturbed(record: _Record) -> str | None:
    found = _statuses(record) & {"postcopy-paused", "postcopy-recover"}
    return f"the migration stalled: its status was {', '.join(sorted(found))}" if found else None


def _no_reboot(record: _Record) -> str | None:
    return "the guest rebooted" if any(event["name"] == "RESET" for event in record["events"]) else None


def _memory(record: _Record) -> str | None:
    return "the guest's memory check failed" if record["memory_verified"] is False else None


def _observed(record: _Record) -> str | None:
    window_s, whole_ms = record["trial"]["observation_s"], resume_to_completion_ms(record["events"])
    if window_s is None or whole_ms is None or whole_ms <= window_s * 1000 + TIME_TOLERANCE_MS:
        return None
    return f"the migration ended {whole_ms / 1000 - window_s:.1f} s after the observation window"


def _window(record: _Record) -> str | None:
    window_s, events = record["trial"]["observation_s"], record["events"]
    end_s, resumed_s = time_of_s(events, "module", "OBSERVATION_END"), time_of_s(events, "destination", "RESUME")
    if window_s is None or end_s is None or resumed_s is None:
        return None
    found_s = end_s - resumed_s
    if abs(found_s - window_s) <= WINDOW_TOLERANCE_S:
        return None
    return f"the observation window is {window_s:.3g} s, by its events {found_s:.3g} s"


def _requests(record: _Record) -> str | None:
    trace = record["instruments"].get("request_trace")
    seen = trace["values"].get("requests") if trace and trace["present"] else None
    counted = record["measurements"]["page_requests"]
    if not isinstance(seen, int | float) or isinstance(seen, bool) or counted is None:
        return None
    if abs(seen - counted) <= max(REQUESTS_TOLERANCE_MIN, REQUESTS_TOLERANCE * counted):
        return None
    return f"the request trace saw {seen:.0f} requests, QEMU's source counted {counted:.0f}"


def rate_error(record: _Record) -> float | None:
    """By which share the guest missed its rate before the migration; None if it had none to keep, or it is unknown."""
    calibration, found = record["calibration"], record["measurements"]["baseline_mb_per_s"]
    if calibration is None or found is None:
        return None
    error: float = abs(found / calibration["target_mb_per_s"] - 1)
    return error


def _rate(record: _Record) -> str | None:
    error = rate_error(record)
    if error is None or error <= RATE_BOUND:
        return None
    found, wanted = record["measurements"]["baseline_mb_per_s"], record["calibration"]["target_mb_per_s"]
    return f"the guest ran at {found:.1f} MB/s before the migration instead of {wanted:.1f}"


def _not_paused(record: _Record) -> str | None:
    events = sorted((event for event in record["events"] if event["time_s"] is not None), key=lambda e: e["time_s"])
    source, destination = (
        [(event["time_s"], event["name"]) for event in events if event["host"] == host] for host in HOSTS
    )
    stopped = max((time_s for time_s, name in source if name == "STOP"), default=None)
    baseline_s = record["trial"]["baseline_s"] or 0.0
    if stopped is not None and (time_s := paused_s(source, stopped - baseline_s, stopped)):
        return f"the guest was paused for {time_s:.1f} s in the baseline"
    end = time_of_s(events, "module", "OBSERVATION_END")
    end = time_of_s(events, "destination", "MIGRATION", "completed") if end is None else end
    if end is not None and (time_s := paused_s(destination, 0.0, end)):
        return f"the guest was paused for {time_s:.1f} s after the switch"
    return None


def _page_wait(record: _Record) -> str | None:
    wait_ms, vcpus = record["measurements"]["page_wait_ms"], record["trial"]["guest"]["vcpus"]
    whole_ms = resume_to_completion_ms(record["events"])
    if wait_ms is None or vcpus is None or whole_ms is None:
        return None
    if wait_ms < 0:
        return "page wait is negative"
    return "page wait is longer than the post-copy phase" if wait_ms > vcpus * whole_ms + TIME_TOLERANCE_MS else None


def _downtime(record: _Record) -> str | None:
    measured = record["measurements"]
    parts = measured["stop_and_copy_ms"], measured["page_wait_ms"]
    if measured["downtime_ms"] is None or None in parts:
        return None
    schedstat = record["instruments"].get("schedstat") or {"values": {}}
    # Records that do not state each virtual CPU's wait have the sum of all in their downtime.
    waits = schedstat["values"].get("vcpu_page_wait_ms")
    vcpus = len(waits) if isinstance(waits, list) and waits else 1
    together_ms = parts[0] + parts[1] / vcpus
    if abs(measured["downtime_ms"] - together_ms) <= TIME_TOLERANCE_MS:
        return None
    return f"downtime is {measured['downtime_ms']:.0f} ms, stop-and-copy and page wait together {together_ms:.0f} ms"


def _clocks(record: _Record) -> str | None:
    gap_ms, offset = record["measurements"]["stop_and_copy_ms"], record["clock_offset"]
    if gap_ms is None or offset is None or gap_ms >= -offset["bound_ms"]:
        return None
    return "the guest resumed before it stopped: the clocks of the two hosts disagree"


def _order(record: _Record) -> str | None:
    resumed = time_of_s(record["events"], "destination", "RESUME")
    completed = time_of_s(record["events"], "destination", "MIGRATION", "completed")
    if resumed is None or completed is None or completed >= resumed:
        return None
    return "the migration completed before the guest resumed"


def _statuses(record: _Record) -> set[str]:
    """Return the statuses that the source's QEMU reported; empty when its events were not recorded."""
    events = [event for event in record["events"] if event["host"] == "source" and event["name"] == "MIGRATION"]
    return {str(event["data"].get("status")) for event in events}


CHECKS = (
    Check("post-copy", "The migration went into post-copy.", _postcopy),
    Check("undisturbed", "It was neither paused nor recovered.", _undisturbed),
    Check("no reboot", "The guest did not reboot.", _no_reboot),
    Check("memory", "The guest's memory check did not fail.", _memory),
    Check("not paused", "The guest was not paused in the baseline, post-copy or the observation window.", _not_paused),
    Check("observed", "The migration ended inside the observation window.", _observed),
    Check("window", "The observation window ended when the trial's settings say.", _window),
    Check("order", "The guest resumed before the last page came.", _order),
    Check("clocks", "The guest did not resume before it stopped, by more than the clocks' error.", _clocks),
    Check("rate", "The guest's rate before the migration was within 25 % of the one it was brought to.", _rate),
    Check("requests", "The request trace and QEMU's counter agree to 2 % and 16 requests.", _requests),
    Check("page wait", "No virtual CPU waited longer than post-copy took.", _page_wait),
    Check("downtime", "Downtime is stop-and-copy and the page wait of a virtual CPU together, to 1 ms.", _downtime),
    *(Check(each.title, f"The {each.title} is what follows from {each.source}.", each.problem) for each in RECOMPUTED),
    Check("possible", "No measurement is more than its trial, its migration or its guest allows.", implausible),
    Check("time", "No duration is longer than the trial.", longer_than_trial),
)
