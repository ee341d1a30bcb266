# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which trials count, and which may be counted together."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import experiment_factory as factory
import pytest

from ansible_collections.vcsp.testbed.analysis.command_line import main
from ansible_collections.vcsp.testbed.analysis.data.likeness import changes, differences
from ansible_collections.vcsp.testbed.analysis.summary import summarise
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import read_experiment
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.validity import CHECKS, broken_rules

EXPERIMENT = factory.experiment(("post-copy", "vcsp"), repeats=2)
Change = Callable[[dict[str, Any]], Any]


def _record(change: Change | None = None, **options: Any) -> dict[str, Any]:
    record = factory.record(EXPERIMENT, **options)
    if change:
        change(record)
    return record


def _status(status: str, host: str = "source") -> dict[str, Any]:
    return {"host": host, "name": "MIGRATION", "data": {"status": status}, "time_s": 0.5}


def _pause(host: str, start_s: float, end_s: float) -> list[dict[str, Any]]:
    """The events of a pause; on the source, the migration's own stop follows."""
    names = [("STOP", start_s), ("RESUME", end_s), *([("STOP", 0.0)] if host == "source" else [])]
    return [{"host": host, "name": name, "data": {}, "time_s": time_s} for name, time_s in names]


BREAKS: list[tuple[str, Change, str]] = [
    ("post-copy", lambda r: r["events"][0]["data"].update(status="active"), "ended before post-copy began"),
    ("undisturbed", lambda r: r["events"].append(_status("postcopy-paused")), "status was postcopy-paused"),
    (
        "no reboot",
        lambda r: r["events"].append({"host": "destination", "name": "RESET", "data": {}, "time_s": 1.0}),
        "the guest rebooted",
    ),
    ("memory", lambda r: r.update(memory_verified=False), "memory check failed"),
    ("observed", lambda r: r["trial"].update(observation_s=1.2), "ended 0.3 s after the observation window"),
    ("order", lambda r: r["events"][2].update(time_s=-0.5), "completed before the guest resumed"),
    ("clocks", lambda r: r["measurements"].update(stop_and_copy_ms=-0.5), "resumed before it stopped"),
    (
        "rate",
        lambda r: (
            r.update(calibration=factory.calibration(85.0)),
            r["measurements"].update(baseline_mb_per_s=110.0),
        ),
        "ran at 110.0 MB/s before the migration instead of 85.0",
    ),
    (
        "requests",
        lambda r: (
            r["measurements"].update(page_requests=1000),
            r["instruments"].update(request_trace={"present": True, "reason": None, "values": {"requests": 1021}}),
        ),
        "trace saw 1021 requests, QEMU's source counted 1000",
    ),
    ("not paused", lambda r: r["events"].extend(_pause("source", -1.5, -0.5)), "paused for 1.0 s in the baseline"),
    ("not paused", lambda r: r["events"].extend(_pause("destination", 0.5, 1.0)), "paused for 0.5 s after the switch"),
    ("page wait", lambda r: r["measurements"].update(page_wait_ms=1502.0), "longer than the post-copy phase"),
    ("page wait", lambda r: r["measurements"].update(page_wait_ms=-1.0), "page wait is negative"),
    (
        "downtime",
        lambda r: r["measurements"].update(downtime_ms=100.0, stop_and_copy_ms=20.0, page_wait_ms=70.0),
        "downtime is 100 ms, stop-and-copy and page wait together 90 ms",
    ),
]


# What one spoiled field of a sound record breaks; a wrong unit above all.
SPOILED: list[tuple[str, Change, str]] = [
    ("total migration time", lambda r: _scaled(r, "total_migration_time_s", 1000), "total migration time is 1512 s"),
    ("total migration time", lambda r: _scaled(r, "total_migration_time_s", 1.05), "events 1.51 s"),
    ("blackout", lambda r: r["measurements"].update(stop_and_copy_ms=14.0, downtime_ms=614.0), "events 12 ms"),
    ("downtime", lambda r: _scaled(r, "downtime_ms", 0.001), "downtime is 1 ms"),
    ("page wait", lambda r: r["measurements"].update(page_wait_ms=6.0, downtime_ms=18.0), "schedstat 600 ms"),
    ("throttled time", lambda r: _scaled(r, "throttled_ms", 0.001), "the cgroup 400 ms"),
    ("requests", lambda r: _scaled(r, "page_requests", 4), "trace saw 2000 requests"),
    ("link rate", lambda r: _scaled(r, "sent_kb", 1024), "link rate is 488 Mbit/s"),
    ("stall loss", lambda r: _scaled(r, "throughput_mb_per_s", 1024), "stall loss"),
    ("slow-down", lambda r: _scaled(r, "steady_mb_per_s", 1024), "slow-down"),
    ("slow-down", lambda r: _scaled(r, "baseline_mb_per_s", 0.5), "slow-down"),
    ("possible", lambda r: _scaled(r, "pages_sent", 1024), "pages sent"),
    ("time", lambda r: _scaled(r, "window_walk_s", 1000), "longer than the trial"),
    ("window", lambda r: r["trial"].update(observation_s=800.0), "window is 800 s, by its events 8 s"),
    ("possible", lambda r: (r.update(events=[]), _scaled(r, "total_migration_time_s", 1e-3)), "longer than the migr"),
    ("possible", lambda r: (r["instruments"].clear(), _scaled(r, "page_requests", 1e4)), "more than 4 for each page"),
]


def _scaled(record: dict[str, Any], name: str, factor: float) -> None:
    record["measurements"][name] *= factor


def _sound(change: Change | None = None) -> dict[str, Any]:
    record, _ = factory.sound(EXPERIMENT, "vcsp")
    if change:
        change(record)
    return record


@pytest.mark.parametrize(("name", "change", "expected"), SPOILED, ids=[name for name, _, _ in SPOILED])
def test_parts_of_a_record_that_contradict_each_other_break_a_rule(name: str, change: Change, expected: str) -> None:
    problems = broken_rules(_sound(change))
    assert expected in "; ".join(problems)
    assert name in {check.name for check in CHECKS if check.problem(_sound(change))}


@pytest.mark.parametrize(
    "change",
    [
        lambda r: None,
        lambda r: r["measurements"].update(link_mbit_per_s=None, baseline_mb_per_s=None, throttled_ms=None),
        lambda r: r["events"].append({"host": "source", "name": "SHUTDOWN", "data": {}, "time_s": 2.0}),
        lambda r: r["instruments"].clear(),
        lambda r: r.update(started_at=None),
        lambda r: r.update(ended_at="2026-01-02T03:04:01Z"),  # a clock was set back
        lambda r: r.update(events=[]),
    ],
)
def test_a_sound_record_breaks_no_rule(change: Change) -> None:
    assert broken_rules(_sound(change)) == ()


def test_every_rule_is_broken_by_some_case_and_by_no_sound_record() -> None:
    assert {name for name, _, _ in [*BREAKS, *SPOILED]} == {check.name for check in CHECKS}
    assert broken_rules(_record()) == ()


def test_downtime_has_the_wait_of_one_vcpu_and_that_of_all_in_older_records() -> None:
    record = _record(lambda r: r["measurements"].update(downtime_ms=120.0, stop_and_copy_ms=20.0, page_wait_ms=200.0))
    record["trial"]["guest"]["vcpus"] = 2
    assert broken_rules(record) == ("downtime is 120 ms, stop-and-copy and page wait together 220 ms",)
    record["instruments"]["schedstat"]["values"]["vcpu_page_wait_ms"] = [150.0, 50.0]
    assert broken_rules(record) == ()


@pytest.mark.parametrize(("name", "change", "expected"), BREAKS, ids=[name for name, _, _ in BREAKS])
def test_a_broken_rule_is_named(name: str, change: Change, expected: str) -> None:
    record = _record(change)
    (problem,) = broken_rules(record)
    assert expected in problem
    assert next(check for check in CHECKS if check.name == name).problem(record) == problem


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(events=[]),
        lambda r: r["trial"]["guest"].update(vcpus=None),
        lambda r: r.update(clock_offset=None),
        lambda r: r["measurements"].update(stop_and_copy_ms=-0.3),
        lambda r: r["instruments"].update(request_trace={"present": True, "reason": None, "values": {"requests": "x"}}),
        lambda r: r["instruments"].update(request_trace={"present": False, "reason": "none", "values": {}}),
        lambda r: (
            r["measurements"].update(page_requests=1000),
            r["instruments"].update(request_trace={"present": True, "reason": None, "values": {"requests": 1020}}),
        ),
        lambda r: r["events"].append(_status("postcopy-paused", "destination")),
    ],
)
def test_what_a_record_does_not_hold_or_is_within_bounds_breaks_nothing(change: Change) -> None:
    assert broken_rules(_record(change)) == ()


def test_the_bounds_are_those_of_the_testbed() -> None:
    from ansible_collections.vcsp.testbed.plugins.module_utils._measure import result
    from ansible_collections.vcsp.testbed.plugins.plugin_utils._records import validity

    assert validity.REQUESTS_TOLERANCE == result.REQUESTS_TOLERANCE
    assert validity.REQUESTS_TOLERANCE_MIN == result.REQUESTS_TOLERANCE_MIN


def test_a_trial_that_breaks_a_rule_is_not_valid(tmp_path: Path) -> None:
    sound, broken = _record(), _record(BREAKS[4][1], name="vcsp")
    factory.write(tmp_path, EXPERIMENT, [sound, broken])
    records = read_experiment(tmp_path).records
    assert [record.valid for record in records] == [True, False]
    assert records[1].reasons == ("the migration ended 0.3 s after the observation window",)


def test_an_invalid_trial_stays_invalid_with_its_own_reasons(tmp_path: Path) -> None:
    factory.write(tmp_path, EXPERIMENT, [_record(BREAKS[4][1], reasons=["no userfaultfd"])])
    (record,) = read_experiment(tmp_path).records
    assert not record.valid
    assert record.reasons == ("no userfaultfd",)


def _host(kernel: str | None = "6.12.0", qemu: str = "10.0.2", name: str = "destination") -> dict[str, Any]:
    return {"hostname": name, "kernel": kernel, "qemu": {"version": qemu}, "cpu": {"model": "A", "count": 8}}


def _on(destination: dict[str, Any], **options: Any) -> dict[str, Any]:
    return _record(lambda r: r["provenance"].update(source=_host(), destination=destination), **options)


def test_trials_of_unlike_hosts_are_not_pooled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [
        _on(_host(), repeat=1),
        _on(_host(), repeat=2),
        _on(_host("6.13.1"), name="vcsp", repeat=1),
        _on(_host(None, qemu="10.1.0"), name="vcsp", repeat=2),
    ]
    summary = summarise(factory.write(tmp_path, EXPERIMENT, records))
    assert [str(difference) for difference in summary.unlike] == [
        "QEMU version of the destination: 10.0.2 (3 trials), 10.1.0 (1 trial)",
        "kernel of the destination: 6.12.0 (2 trials), 6.13.1 (1 trial), not stated (1 trial)",
    ]
    assert summary.table is None
    assert summary.failed
    assert not summary.trials["valid"].any()
    assert set(summary.trials["reasons"]) == {"not pooled: unlike hosts"}
    assert main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "trials of unlike hosts are not pooled" in error
    assert "kernel of the destination: 6.12.0 (2 trials)" in error


def test_an_invalid_trial_of_another_host_does_no_harm(tmp_path: Path) -> None:
    records = [_on(_host(), repeat=1), _on(_host("6.13.1"), repeat=2, reasons=["failed"]), _on(_host(), name="vcsp")]
    summary = summarise(factory.write(tmp_path, EXPERIMENT, records))
    assert summary.unlike == ()
    assert summary.table is not None


def test_odd_provenance_is_not_stated_and_printable(tmp_path: Path) -> None:
    odd: dict[str, Any] = {"hostname": ["\x1b[31m"], "kernel": {"a": 1}, "qemu": "10.0", "cpu": None}
    records = [_on(odd), _on(_host(), name="vcsp")]
    factory.write(tmp_path, EXPERIMENT, records)
    found = differences(read_experiment(tmp_path).records)
    assert {difference.factor for difference in found} == {"host", "qemu", "kernel"}
    assert all(str(difference).isprintable() for difference in found)


def test_changes_between_two_sides_name_the_factor(tmp_path: Path) -> None:
    factory.write(tmp_path, EXPERIMENT, [_on(_host()), _on(_host(qemu="10.1.0"), name="vcsp")])
    left, right = read_experiment(tmp_path).records
    (change,) = changes([left], [right])
    assert change.factor == "qemu"
    assert changes([left], [copy.deepcopy(left)]) == ()
