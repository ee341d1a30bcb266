# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whole experiments on the lab: every method migrates, a second provisioning changes nothing, interruptions resume."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
from pathlib import Path

import pytest

from .conftest import (
    bpf_programs,
    changes,
    guests,
    on,
    playbook,
    records,
    start_playbook,
    wait_until,
    write_scenario,
)

METHODS = ["post-copy", "post-copy-prefetching", "vcsp", "vcsp-prefetching"]
# experiment.yml on hosts that are provisioned: what of it interruptions concern.
BOOKS = [f"playbooks/{name}.yml" for name in ("check", "guest", "run", "report")]


def test_every_method_migrates_the_guest(lab: Path) -> None:
    found = records(lab)
    assert sorted(found) == sorted(METHODS)
    for name, record in found.items():
        assert record["validity"]["reasons"] == [], (name, record["validity"]["reasons"])
        assert record["memory_verified"] is True
        for metric in ("downtime_ms", "total_migration_time_s", "page_requests", "throughput_mb_per_s"):
            assert record["measurements"][metric] > 0, (name, metric)
        assert record["instruments"]["request_trace"]["present"], record["instruments"]["request_trace"]
        assert record["clock_offset"]["bound_ms"] > 0
        calibration, baseline = record["calibration"], record["measurements"]["baseline_mb_per_s"]
        assert calibration["target_mb_per_s"] == 30
        assert calibration["low_mb_per_s"] <= calibration["rate_mb_per_s"] <= calibration["high_mb_per_s"]
        assert abs(baseline / 30 - 1) <= 0.25, (name, baseline, calibration)
        times = record["instruments"]["visit_times"]["values"]
        assert times["visits"] >= 8 * 256, "the window was walked after the switch"
        assert times["p50_us"] <= times["p99_us"] <= times["p99_9_us"] <= 2000 * times["longest_ms"], name
        waits = record["instruments"]["schedstat"]["values"]
        parts_ms = waits["page_wait_until_walked_ms"] + waits["page_wait_after_walked_ms"]
        assert parts_ms == pytest.approx(waits["page_wait_ms"])
        assert waits["page_wait_until_walked_ms"] > waits["page_wait_after_walked_ms"] >= 0, name
        link = record["link"]
        assert {key: link[key] for key in record["trial"]["link"]} == record["trial"]["link"]
        assert link["proof"]["page_us"] > 2 * link["delay_us"]


def test_a_rate_out_of_reach_is_refused_before_any_trial(lab: Path, tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path, workloads=[{"window_mb": 8, "rate_mb_per_s": 100_000}])
    results = tmp_path / "results"
    done = playbook(*BOOKS, "-e", f"scenario={scenario}", "-e", f"results_dir={results}")
    assert done.returncode == 2, done.stdout
    assert "ask for a rate_mb_per_s of no more than" in " ".join(done.stdout.split())
    assert not list(results.glob("*/trials/*/record.json"))
    assert guests("source") == guests("destination") == []


def test_prefetching_needs_fewer_requests(lab: Path) -> None:
    requests = {name: record["measurements"]["page_requests"] for name, record in records(lab).items()}
    window_pages = 8 * 256
    assert requests["post-copy"] >= window_pages
    assert requests["post-copy-prefetching"] < 0.7 * requests["post-copy"]
    assert requests["vcsp-prefetching"] < 0.7 * requests["vcsp"]


def test_requests_are_extended_to_ten_pages_and_never_beyond_the_block(lab: Path) -> None:
    for directory in (lab / "latest" / "trials").iterdir():
        with (directory / "requests.csv").open() as file:
            rows = list(csv.DictReader(file))
        pages = 10 if "prefetching" in directory.name else 1
        assert rows
        assert max(int(row["sent"]) for row in rows) == pages * 4096
        assert all(int(row["start"]) + int(row["sent"]) <= 512 << 20 for row in rows)


def test_a_quota_is_in_force_until_completion(lab: Path) -> None:
    found = records(lab)
    for name in ("vcsp", "vcsp-prefetching"):
        events = {event["name"]: event["time_s"] for event in found[name]["events"] if event["host"] == "module"}
        completed_s = next(
            event["time_s"]
            for event in found[name]["events"]
            if event["host"] == "destination" and event["data"].get("status") == "completed"
        )
        assert found[name]["measurements"]["throttled_ms"] > 0
        assert completed_s <= events["QUOTA_LIFTED"] < events["OBSERVATION_END"], name
    assert found["post-copy"]["measurements"]["throttled_ms"] is None


def test_the_report_has_table_and_figures(lab: Path) -> None:
    report = lab / "latest" / "report"
    with (report / "table3.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert sorted(rows) == sorted(METHODS[1:])
    assert float(rows["post-copy-prefetching"]["pages_transferred_pct"]) > 30
    names = {path.name for path in report.iterdir()}
    assert {
        "table3.md",
        "table3_paper_convention.csv",
        "figure3_downtime.svg",
        "figure4_total_migration_time.svg",
        "figure5_pages_transferred.svg",
        "figure6_throughput.svg",
        "report.html",
    } <= names


def test_nothing_of_an_experiment_is_left_on_the_hosts(lab: Path) -> None:
    assert guests("source") == guests("destination") == []
    assert bpf_programs() == set()
    assert on("source", "pgrep", "-c", "qemu", check=False).strip() == "0"
    assert on("destination", "pgrep", "-c", "qemu", check=False).strip() == "0"


@pytest.mark.parametrize("check", [False, pytest.param(True, marks=pytest.mark.long)], ids=["again", "check mode"])
def test_provisioning_a_second_time_changes_nothing(lab: Path, check: bool) -> None:
    scenario = next(lab.parent.glob("scenario.yml"))
    books = ["playbooks/lab.yml", "playbooks/provision.yml", "playbooks/guest.yml"]
    done = playbook(*books, "-e", f"scenario={scenario}", "-v", *(["--check"] if check else []))
    assert done.returncode == 0, done.stdout
    assert changes(done.stdout) == {"localhost": 0, "source": 0, "destination": 0}, done.stdout


def test_a_killed_experiment_resumes_and_an_interrupted_one_cleans_up(lab: Path, tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path, methods=METHODS[:3])
    results = tmp_path / "results"
    arguments = [
        *BOOKS,
        "-e",
        f"scenario={scenario}",
        "-e",
        f"results_dir={results}",
        "-e",
        "experiment_id=mine",
    ]

    def done_trials() -> list[Path]:
        return sorted((results / "mine" / "trials").glob("[!.]*/record.json"))

    killed = start_playbook(tmp_path / "killed", *arguments)
    wait_until(done_trials, 180, "the first record")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    first = {path: path.read_bytes() for path in done_trials()}

    interrupted = start_playbook(tmp_path / "interrupted", *arguments)
    wait_until(lambda: len(done_trials()) > len(first), 180, "the second record")
    wait_until(lambda: guests("destination"), 60, "the third trial")
    os.killpg(interrupted.pid, signal.SIGINT)
    assert interrupted.wait(timeout=120) != 0
    output = (tmp_path / "interrupted").read_text()
    assert "experiment_id=mine" in output, output
    assert guests("source") == guests("destination") == []
    assert bpf_programs() == set()

    resumed = playbook(*arguments)
    assert resumed.returncode == 0, resumed.stdout
    assert len(done_trials()) == 3
    assert {path: path.read_bytes() for path in first} == first
    assert [record["validity"]["reasons"] for record in records(results).values()] == [[], [], []]


def test_a_trial_that_fails_is_recorded_and_does_not_stop_the_others(lab: Path, tmp_path: Path) -> None:
    # About 90 MB at 20 MB/s do not come inside a second, on any machine: every trial is invalid.
    slow = {"transfer": "push", "postcopy_preempt": True, "max_postcopy_bandwidth_mb_per_s": 20}
    methods = [{"name": name, **slow} for name in ("post-copy", "another")]
    scenario = write_scenario(tmp_path, observation_s=1, methods=methods)
    results = tmp_path / "results"
    done = playbook(*BOOKS, "-e", f"scenario={scenario}", "-e", f"results_dir={results}")
    assert done.returncode == 2, done.stdout
    found = {name: record["validity"]["reasons"] for name, record in records(results).items()}
    assert sorted(found) == ["another", "post-copy"]
    for name, reasons in found.items():
        assert len(reasons) == 1 and "after the observation window" in reasons[0], (name, reasons)


def test_a_trial_that_misses_its_rate_is_run_again(lab: Path, tmp_path: Path) -> None:
    earlier = records(lab)["post-copy"]
    target = 2 * earlier["calibration"]["target_mb_per_s"]
    # Given from outside, so that no calibration mends it.
    wrong = [
        {"item": earlier["trial"]["workload"], "calibration": {**earlier["calibration"], "target_mb_per_s": target}}
    ]
    scenario = write_scenario(tmp_path, observation_s=4, methods=["post-copy"])
    results = tmp_path / "results"
    variables = {
        "scenario": str(scenario),
        "results_dir": str(results),
        "trial_calibrations": wrong,
        "trial_retries": 1,
    }
    done = playbook(*BOOKS, "-e", json.dumps(variables))
    assert done.returncode == 2, done.stdout
    missed = f"MB/s before the migration instead of {target:.1f}"
    assert len(re.findall(rf"^ +the guest ran at [0-9.]+ {re.escape(missed)}$", done.stdout, re.MULTILINE)) == 2
    assert "1 trials in" in done.stdout and ": 1 invalid" in done.stdout
    record = records(results)["post-copy"]
    assert len(record["validity"]["reasons"]) == len(record["cautions"]) == 1
    assert re.fullmatch(rf"run again: the guest ran at [0-9.]+ {re.escape(missed)}", record["cautions"][0])
