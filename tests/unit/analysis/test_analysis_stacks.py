# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stacks of one experiment: a difference between them is found, and none where there is none, whatever drifts."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import experiment_factory as factory
import numpy as np
import pytest

from ansible_collections.vcsp.testbed.analysis.command_line import main
from ansible_collections.vcsp.testbed.analysis.comparison import Change, Comparison, compare
from ansible_collections.vcsp.testbed.analysis.concordance import agree
from ansible_collections.vcsp.testbed.analysis.nightly.nights import read_night
from ansible_collections.vcsp.testbed.analysis.report import report
from ansible_collections.vcsp.testbed.analysis.stacks import compare_in
from ansible_collections.vcsp.testbed.analysis.statistics.interval import (
    Arm,
    Values,
    arm,
    p_value,
    paired_arm,
    ratio_interval,
)
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import read_experiment
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.trials import trial_id

BOTH = ("post-copy", "vcsp")
LOADS = (factory.workload(8), factory.workload(64))
OLD, NEW = "qemu-10.0", "qemu-11.1"
# What each repeat adds to all of its trials, of whatever stack; and what chance adds to each.
DRIFT = (1.0, 1.6, 0.7, 1.3, 2.1)
CHANCE = (0.99, 1.01, 1.0, 1.02, 0.98, 1.0, 1.01, 0.99, 1.0, 0.98, 1.02)
VERSIONS = {OLD: "10.0.2", NEW: "11.1.0", "third": "11.2.0"}


def written(
    directory: Path,
    factors: Mapping[str, float],
    repeats: int = 5,
    pairs: Mapping[str, Sequence[str]] | None = None,
    left_out: Sequence[str] = (),
    **of_new: Any,
) -> Path:
    """Write an experiment, given by what each stack's downtimes are multiplied; its pairs take turns at repeats."""
    of = {**factory.experiment(BOTH, LOADS, repeats), "stacks": list(factors)}
    records, number = [], 0
    for stack, factor in factors.items():
        of_stack = (pairs or {}).get(stack, [f"pair-{stack}"])
        for load in LOADS:
            for method in BOTH:
                for repeat in range(1, repeats + 1):
                    number += 1
                    downtime_ms = factor * load["window_mb"] * DRIFT[repeat - 1] * CHANCE[number % len(CHANCE)]
                    downtime_ms /= 1 + BOTH.index(method)
                    measured = {"downtime_ms": downtime_ms, "throughput_mb_per_s": 80.0 + CHANCE[number % 7]}
                    record = factory.record(of, method, load, repeat, measured)
                    name = trial_id(LOADS, repeat, load, method, stack)
                    pair = of_stack[(repeat - 1) % len(of_stack)]
                    record["trial"] |= {"id": name, "stack": stack, "pair": pair}
                    facts = {"kernel": "6.12.0", "qemu": {"version": VERSIONS[stack]}, "cpu": {"model": "Xeon"}}
                    for host in ("source", "destination"):
                        own = {"hostname": f"{pair}-{host}", "boot_id": f"{pair}-{host}"}
                        record["provenance"][host] = {**facts, **own, **(of_new if stack == NEW else {})}
                    if name not in left_out:
                        records.append(record)
    return factory.write(directory, of, records, {"telemetry.csv": factory.telemetry([300.0] * 10 + [80.0] * 30)})


def overall(comparison: Comparison, metric: str = "downtime") -> dict[str, Change]:
    return {each.method: each for each in comparison.changes if each.workload is None and each.metric == metric}


def width(change: Change) -> float:
    assert change.low is not None and change.high is not None
    return change.high - change.low


def test_an_injected_difference_is_found_although_repeats_drift_more(tmp_path: Path) -> None:
    comparison = compare_in(written(tmp_path, {OLD: 1.0, NEW: 1.25}), None, 10)
    assert comparison.outcome.name == "regression"
    for change in overall(comparison).values():
        assert change.verdict == "regression"
        assert change.pct == pytest.approx(-25, abs=3)
        assert width(change) < 10
        assert (change.n_baseline, change.n_new) == (10, 10)
    # The others are as they were.
    assert all(change.verdict == "no regression" for change in overall(comparison, "throughput").values())
    of_workloads = {change.workload for change in comparison.changes}
    assert of_workloads == {None, "8 MB sequential work 4", "64 MB sequential work 4"}
    assert "QEMU version of the source: 10.0.2 -> 11.1.0" in comparison.allowed


def test_no_difference_is_found_where_there_is_none(tmp_path: Path) -> None:
    comparison = compare_in(written(tmp_path, {OLD: 1.0, NEW: 1.0}, qemu={"version": "10.0.2"}), None, 10)
    assert comparison.outcome.name == "no regression"
    assert all(change.verdict == "no regression" for change in comparison.changes)
    assert comparison.allowed == ()
    assert "both stacks have the same QEMU, libvirt and kernel: what they differ in is their hosts and chance" in (
        comparison.notes
    )


def test_an_improvement_is_one(tmp_path: Path) -> None:
    comparison = compare_in(written(tmp_path, {OLD: 1.0, NEW: 0.5}), NEW, 10)
    assert {change.verdict for change in overall(comparison).values()} == {"improvement"}


def test_a_repeat_that_one_stack_lacks_is_left_out_of_the_other(tmp_path: Path) -> None:
    load, method = LOADS[0], BOTH[0]
    lacking = [str(trial_id(LOADS, repeat, load, method, OLD)) for repeat in (1, 2)]
    comparison = compare_in(written(tmp_path, {OLD: 1.0, NEW: 1.25}, left_out=lacking), None, 10)
    change = overall(comparison)[method]
    assert (change.n_baseline, change.n_new) == (8, 8)
    assert change.pct == pytest.approx(-25, abs=3)
    assert f"left out of the stack {OLD}: 2 missing" in comparison.notes


def test_pairs_of_a_stack_are_blocks_and_one_with_a_single_repeat_is_left_out(tmp_path: Path) -> None:
    pairs = {OLD: ["a", "b"], NEW: ["c", "d"]}
    comparison = compare_in(written(tmp_path / "two", {OLD: 1.0, NEW: 1.25}, pairs=pairs), None, 10)
    for change in overall(comparison).values():
        assert change.n_new == 10
        assert change.pct == pytest.approx(-25, abs=3)
        assert width(change) < 40
    three = compare_in(
        written(tmp_path / "three", {OLD: 1.0, NEW: 1.25}, 4, {OLD: ["a"], NEW: ["b", "b", "c"]}), None, 10
    )
    assert {change.n_new for change in overall(three).values()} == {6}


def test_unlike_hardware_is_refused(tmp_path: Path) -> None:
    directory = written(tmp_path, {OLD: 1.0, NEW: 1.0}, cpu={"model": "EPYC"})
    comparison = compare_in(directory, None, 10)
    assert comparison.outcome.exit_status == 12
    assert any("CPU model of the source: Xeon (20 trials), EPYC (20 trials)" in each for each in comparison.obstacles)
    assert report(directory).failed


def test_of_three_stacks_one_is_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = written(tmp_path, {OLD: 1.0, NEW: 1.25, "third": 1.0}, repeats=3)
    assert main(["compare", str(directory)]) == 2
    assert f"with --stack {NEW} or third" in capsys.readouterr().err
    assert main(["compare", str(directory), "--stack", OLD]) == 2
    assert main(["compare", str(directory), "--stack", NEW, "--allow", "qemu"]) == 2
    assert main(["compare", str(directory), str(tmp_path / "other"), "--stack", NEW]) == 2
    assert main(["compare", str(directory), "--stack", NEW]) == 10
    assert f"baseline: synthetic-1 on {OLD}, 12 valid trials" in capsys.readouterr().out


def test_the_report_has_each_stack_and_what_they_are_beside_each_other(tmp_path: Path) -> None:
    found = report(written(tmp_path, {OLD: 1.0, NEW: 1.25}))
    assert not found.failed
    target = tmp_path / "report"
    for stack in (OLD, NEW):
        own = target / "stacks" / stack
        assert (own / "report.html").exists() and "vcsp" in (own / "table3.csv").read_text()
        assert f"Stack {stack}: 20 of 20 trials recorded" in found.text
        assert f'href="stacks/{stack}/report.html"' in (target / "report.html").read_text()
    assert found.text == (target / "stacks.txt").read_text().rstrip("\n")
    assert f"{NEW} against {OLD}, each repeat run on both" in found.text
    rows = list(csv.DictReader((target / "stacks.csv").open()))
    first = rows[0]
    assert (first["reference"], first["stack"], first["metric"], first["workload"]) == (OLD, NEW, "downtime", "")
    assert first["verdict"] == "regression"
    (document,) = json.loads((target / "stacks.json").read_text())["comparisons"]
    assert (document["baseline"]["stack"], document["new"]["stack"]) == (OLD, NEW)
    assert {row["stack"] for row in csv.DictReader((target / "table3.csv").open())} == {OLD, NEW}
    assert {row["stack"] for row in csv.DictReader((target / "trials.csv").open())} == {OLD, NEW}
    figure = (target / "stacks_downtime.svg").read_text()
    assert OLD in figure and NEW in figure
    page = (target / "report.html").read_text()
    assert 'class="text worse">regression<' in page
    assert "<script" not in page


def test_a_page_shows_hostile_names_as_text(tmp_path: Path) -> None:
    report(written(tmp_path, {OLD: 1.0, NEW: 1.0}, kernel="<b>6</b>"))
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<b>6" not in page and "&lt;b&gt;6" in page


def test_a_stack_that_measured_nothing_is_reported_as_missing(tmp_path: Path) -> None:
    of_new = [
        str(trial_id(LOADS, repeat, load, method, NEW)) for repeat in range(1, 6) for load in LOADS for method in BOTH
    ]
    directory = written(tmp_path, {OLD: 1.0, NEW: 1.0}, left_out=of_new)
    assert len(read_experiment(directory).missing) == 20
    found = report(directory)
    assert found.failed
    assert f"the stack {NEW} has no valid trial" in found.text


@pytest.mark.parametrize("other", [compare, agree])
def test_what_does_not_know_stacks_refuses_them(tmp_path: Path, other: Any) -> None:
    stacks, plain = written(tmp_path / "stacks", {OLD: 1.0, NEW: 1.0}, repeats=2), factory.full(tmp_path / "plain")
    more = (10,) if other is compare else ()
    for directories in ((stacks, plain), (plain, stacks)):
        with pytest.raises(InputError, match=f"compares the stacks {OLD}, {NEW}, and cannot be held against another"):
            other(*directories, *more)
    with pytest.raises(InputError, match="compares no stacks"):
        compare_in(plain, None, 10)


def test_a_packed_experiment_of_stacks_is_the_same(tmp_path: Path) -> None:
    directory, archive = written(tmp_path / "here", {OLD: 1.0, NEW: 1.25}, repeats=2), tmp_path / "small.tar.xz"
    assert main(["pack", str(directory), str(archive)]) == 0
    (tmp_path / "there").mkdir()
    __import__("tarfile").open(archive).extractall(tmp_path / "there", filter="data")
    assert compare_in(tmp_path / "there", None, 10).changes == compare_in(directory, None, 10).changes


def test_a_record_of_another_stack_is_not_used(tmp_path: Path) -> None:
    directory = written(tmp_path, {OLD: 1.0, NEW: 1.0}, repeats=2)
    path = next(directory.glob("trials/*/record.json"))
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "trial": {**record["trial"], "stack": "third"}}))
    (skipped,) = read_experiment(directory).skipped
    assert skipped.reason == "its stack (third) is not one of the experiment's"


def test_a_night_compares_each_stack_with_itself(tmp_path: Path) -> None:
    night = read_night(written(tmp_path / "two", {OLD: 1.0, NEW: 1.25}))
    cells = [cell for cell, metrics in night.values.items() if metrics]
    assert f"{OLD}-0008mb-sequential-vcsp on pair-{OLD}" in cells
    assert f"{NEW}-0064mb-sequential-post-copy on pair-{NEW}" in cells
    assert len(cells) == 8
    assert night.failures == ()
    assert night.stack[f"QEMU version ({OLD})"] == "10.0.2"
    assert night.stack[f"QEMU version ({NEW})"] == "11.1.0"
    assert night.kind != read_night(written(tmp_path / "other", {OLD: 1.0, "third": 1.0})).kind
    lacking = [str(trial_id(LOADS, repeat, LOADS[0], "vcsp", NEW)) for repeat in (1, 2, 3, 4)]
    failed = read_night(written(tmp_path / "failed", {OLD: 1.0, NEW: 1.0}, left_out=lacking))
    assert f"{NEW}-0008mb-sequential-vcsp: only 1 of 5 trials are valid" in failed.failures


SIMULATIONS = 6000


def sides(repeats: int, drift: float, ratio: float = 1.0) -> tuple[Arm, Arm]:
    """Two arms over two workloads, many times, whose repeats drift together."""
    random = np.random.default_rng(repeats)
    before: list[Values] = []
    after: list[Values] = []
    for level in (1.0, 5.0):
        common = 1 + drift * random.standard_normal((SIMULATIONS, repeats))
        for side, factor in ((before, 1.0), (after, ratio)):
            side.append(factor * level * common * (1 + 0.05 * random.standard_normal((SIMULATIONS, repeats))))
    return arm(before), paired_arm(before, after)


@pytest.mark.parametrize("repeats", [3, 5, 8])
@pytest.mark.parametrize("drift", [0.0, 0.2])
def test_a_stack_differs_from_itself_in_some_5_percent_of_comparisons(repeats: int, drift: float) -> None:
    low, high = ratio_interval(*sides(repeats, drift))
    # As for Table 3, degrees of freedom are estimates, of few repeats poor ones.
    assert np.mean((low > 1) | (high < 1)) <= 0.06 + 3.1 * np.sqrt(0.06 * 0.94 / SIMULATIONS)


def test_the_test_is_that_of_the_interval() -> None:
    arms = sides(4, 0.2, ratio=1.05)
    low, high = ratio_interval(*arms)
    assert np.array_equal((low > 1) | (high < 1), p_value(*arms) < 0.05)


def test_what_drifts_with_both_does_not_widen_the_interval() -> None:
    before, after = sides(5, 0.2)
    (low, high), (wide_low, wide_high) = (
        ratio_interval(before, after),
        ratio_interval(before, Arm(after.mean, after.variance, after.spread)),
    )
    assert np.median(high - low) < 0.5 * np.median(wide_high - wide_low)


def test_repeats_that_are_equal_or_in_proportion_give_a_point() -> None:
    equal = [np.array([2.0, 2.0, 2.0])]
    low, high = ratio_interval(arm(equal), paired_arm(equal, equal))
    assert low == high == 1
    assert p_value(arm(equal), paired_arm(equal, equal)) == 1
    nothing = [np.array([0.0, 0.0, 0.0])]
    assert ratio_interval(arm(equal), paired_arm(equal, nothing)) == (0, 0)
    single = [np.array([2.0])]
    assert np.isnan(ratio_interval(arm(single), paired_arm(single, single))).all()
