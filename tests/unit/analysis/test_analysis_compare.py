# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two experiments against each other."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import experiment_factory as factory
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.analysis.command_line import main
from ansible_collections.vcsp.testbed.analysis.comparison import Change, Comparison, _corrected, compare
from ansible_collections.vcsp.testbed.analysis.presentation.comparison import FORMATS
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError

BOTH = ("post-copy", "vcsp")
STEADY = (98.0, 100.0, 102.0)
Edit = Callable[[dict[str, Any]], Any]


def _nothing(_: dict[str, Any]) -> None:
    """Leave it as it is."""


def _write(
    directory: Path,
    downtimes_ms: Mapping[str, Sequence[float]],
    windows_mb: Sequence[int] = (8,),
    of_experiment: Edit = _nothing,
    of_record: Edit = _nothing,
) -> Path:
    """Write an experiment of downtimes by method, the same in every window."""
    of = factory.experiment(BOTH, [factory.workload(window) for window in windows_mb], repeats=10)
    of_experiment(of)
    records = []
    for method, values in downtimes_ms.items():
        for load in of["scenario"]["workloads"]:
            for repeat, value in enumerate(values, 1):
                records.append(factory.record(of, method, load, repeat, {"downtime_ms": value}))
                records[-1]["trial"]["method"] = next(m for m in of["scenario"]["methods"] if m["name"] == method)
                of_record(records[-1])
    return factory.write(directory, of, records)


def _compare(
    tmp_path: Path, before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]], **options: Any
) -> Comparison:
    return compare(_write(tmp_path / "a", before), _write(tmp_path / "b", after), 10, **options)


def _verdicts(comparison: Comparison) -> dict[str, str]:
    return {change.method: change.verdict for change in comparison.changes}


def test_a_loss_beyond_the_threshold_is_a_regression(tmp_path: Path) -> None:
    before = {"post-copy": STEADY, "vcsp": STEADY}
    comparison = _compare(tmp_path, before, {**before, "vcsp": [118, 120, 122]})
    assert comparison.outcome.exit_status == 10
    assert _verdicts(comparison) == {"post-copy": "no regression", "vcsp": "regression"}
    change = comparison.changes[1]
    assert change.pct == pytest.approx(-20)
    assert (change.n_baseline, change.n_new, change.workload) == (3, 3, None)


def test_a_certain_loss_within_the_threshold_is_no_regression(tmp_path: Path) -> None:
    before, after = {"post-copy": [99.9, 100, 100.1]}, {"post-copy": [104.9, 105, 105.1]}
    comparison = _compare(tmp_path, before, after)
    assert comparison.outcome.exit_status == 0
    assert compare(tmp_path / "a", tmp_path / "b", 4).outcome.exit_status == 10
    assert compare(tmp_path / "b", tmp_path / "a", 4).changes[0].verdict == "improvement"


def test_noisy_samples_are_not_declared_sound(tmp_path: Path) -> None:
    comparison = _compare(tmp_path, {"post-copy": [80, 100, 120]}, {"post-copy": [85, 100, 125]})
    assert comparison.outcome.exit_status == 11
    least = comparison.least_threshold_percent
    assert least is not None
    assert compare(tmp_path / "a", tmp_path / "b", least).outcome.exit_status == 0


def test_a_regression_weighs_more_than_what_is_too_noisy_or_too_few(tmp_path: Path) -> None:
    before = {"post-copy": STEADY, "vcsp": [100.0]}
    comparison = _compare(tmp_path, before, {"post-copy": [148, 150, 152], "vcsp": [100.0]})
    assert _verdicts(comparison) == {"post-copy": "regression", "vcsp": "too few trials"}
    assert comparison.outcome.exit_status == 10


def test_a_method_that_is_gone_is_too_few_trials(tmp_path: Path) -> None:
    comparison = _compare(tmp_path, {"post-copy": STEADY, "vcsp": STEADY}, {"post-copy": STEADY})
    assert _verdicts(comparison) == {"post-copy": "no regression", "vcsp": "too few trials"}
    assert comparison.outcome.exit_status == 12


def test_nothing_valid_on_one_side_is_not_comparable(tmp_path: Path) -> None:
    comparison = _compare(tmp_path, {"post-copy": STEADY}, {})
    assert comparison.outcome.exit_status == 12
    assert comparison.obstacles == ("the new experiment has no valid trial",)


def test_single_workloads_are_listed_and_decide_on_request(tmp_path: Path) -> None:
    windows = (8, 64)

    def worse_in_8(record: dict[str, Any]) -> None:
        if record["trial"]["workload"]["window_mb"] == 64:
            record["measurements"]["downtime_ms"] *= 100
        else:
            record["measurements"]["downtime_ms"] *= 1.5

    def plain(record: dict[str, Any]) -> None:
        if record["trial"]["workload"]["window_mb"] == 64:
            record["measurements"]["downtime_ms"] *= 100

    before = _write(tmp_path / "a", {"post-copy": STEADY}, windows, of_record=plain)
    after = _write(tmp_path / "b", {"post-copy": STEADY}, windows, of_record=worse_in_8)
    verdicts = {change.workload: change for change in compare(before, after, 10).changes}
    assert list(verdicts) == [None, "8 MB sequential work 4", "64 MB sequential work 4"]
    assert verdicts["8 MB sequential work 4"].verdict == "regression"
    assert not verdicts["8 MB sequential work 4"].decides
    assert compare(before, after, 10).outcome.exit_status == 0
    assert compare(before, after, 10, each_workload=True).outcome.exit_status == 10


UNLIKE: list[tuple[str, Edit, Edit, str]] = [
    ("scenario", lambda e: e["scenario"]["guest"].update(memory_mb=1024), _nothing, "the scenario's guest changed"),
    ("scenario", lambda e: e["scenario"]["link"].update(rate_mbit=100), _nothing, "the scenario's link changed"),
    (
        "scenario",
        lambda e: e["scenario"]["methods"][0].update(prefetch_pages=2),
        _nothing,
        "method post-copy has different settings",
    ),
    (
        "scenario",
        lambda e: e["scenario"]["workloads"].append(factory.workload(16)),
        _nothing,
        "workload 16 MB sequential work 4 is in one experiment only",
    ),
    (
        "qemu",
        _nothing,
        lambda r: r["provenance"]["source"].update(qemu={"version": "10.1.0"}),
        "QEMU version of the source changed from not stated to 10.1.0",
    ),
    ("kernel", _nothing, lambda r: r["provenance"]["destination"].update(kernel="7.0"), "kernel of the destination"),
    ("host", _nothing, lambda r: r["provenance"]["destination"].update(hostname="b"), "name of the destination"),
]


@pytest.mark.parametrize(("factor", "of_experiment", "of_record", "expected"), UNLIKE)
def test_unlike_samples_are_refused_unless_allowed(
    tmp_path: Path, factor: str, of_experiment: Edit, of_record: Edit, expected: str
) -> None:
    def consistent(record: dict[str, Any]) -> None:
        of_record(record)
        whole = factory.experiment(BOTH)
        of_experiment(whole)
        record["trial"].update(guest=whole["scenario"]["guest"], link=whole["scenario"]["link"])

    before = _write(tmp_path / "a", {"post-copy": STEADY})
    after = _write(tmp_path / "b", {"post-copy": STEADY}, (8,), of_experiment, consistent)
    comparison = compare(before, after, 10)
    assert comparison.outcome.exit_status == 12
    assert comparison.changes == ()
    (obstacle,) = comparison.obstacles
    assert expected in obstacle
    assert obstacle.endswith(f"--allow {factor}")
    allowed = compare(before, after, 10, allow=[factor])
    assert allowed.outcome.exit_status == 0
    assert expected in allowed.allowed[0]


@pytest.mark.parametrize(("tls", "status"), [(False, 0), (True, 12)])
def test_a_setting_that_is_newer_than_the_baseline_had_its_default(tmp_path: Path, tls: bool, status: int) -> None:
    def newer(experiment: dict[str, Any]) -> None:
        for method in experiment["scenario"]["methods"]:
            method["tls"] = tls

    before = _write(tmp_path / "a", {"post-copy": STEADY})
    after = _write(tmp_path / "b", {"post-copy": STEADY}, (8,), newer)
    assert compare(before, after, 10).outcome.exit_status == status


@pytest.mark.parametrize(("idle_mb", "status"), [(0, 0), (64, 12)])
def test_a_baseline_from_before_idle_memory_had_none(tmp_path: Path, idle_mb: int, status: int) -> None:
    before = _write(tmp_path / "a", {"post-copy": STEADY}, (8,), lambda e: e["scenario"]["guest"].pop("idle_mb"))
    after = _write(
        tmp_path / "b", {"post-copy": STEADY}, (8,), lambda e: e["scenario"]["guest"].update(idle_mb=idle_mb)
    )
    assert compare(before, after, 10).outcome.exit_status == status


def test_repeats_seed_and_name_may_differ(tmp_path: Path) -> None:
    before = _write(tmp_path / "a", {"post-copy": STEADY})
    after = _write(
        tmp_path / "b", {"post-copy": STEADY}, (8,), lambda e: e["scenario"].update(name="x", seed=9, repeats=4)
    )
    assert compare(before, after, 10).outcome.exit_status == 0


def test_a_side_of_unlike_hosts_is_refused_whatever_is_allowed(tmp_path: Path) -> None:
    def mixed(record: dict[str, Any]) -> None:
        record["provenance"]["source"]["kernel"] = f"6.{record['trial']['repeat']}"

    before = _write(tmp_path / "a", {"post-copy": STEADY})
    after = _write(tmp_path / "b", {"post-copy": STEADY}, of_record=mixed)
    comparison = compare(before, after, 10, allow=["kernel"])
    assert comparison.outcome.exit_status == 12
    assert "trials of the new experiment are from unlike hosts: kernel of the source" in comparison.obstacles[0]


def test_bad_input_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = _write(tmp_path / "a", {"post-copy": STEADY})
    with pytest.raises(InputError, match="given twice"):
        compare(directory, tmp_path / "b" / ".." / "a", 10)
    assert main(["compare", str(directory), str(tmp_path / "nowhere")]) == 2
    assert "there is no such file" in capsys.readouterr().err
    for arguments in (["--allow", "qemu,weather"], ["--threshold-percent", "-1"], ["--threshold-percent", "nan"]):
        with pytest.raises(SystemExit) as ending:
            main(["compare", str(directory), str(directory), *arguments])
        assert ending.value.code == 2
    assert "'weather' is not one of scenario, host" in capsys.readouterr().err


def test_the_command_prints_each_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _write(tmp_path / "a", {"post-copy": STEADY, "vcsp": STEADY}, (8, 16))
    after = _write(tmp_path / "b", {"post-copy": [80, 100, 125], "vcsp": [148, 150, 152]}, (8, 16))
    command = ["compare", str(before), str(after), "--threshold-percent", "12"]
    assert main(command) == 10
    text = capsys.readouterr().out
    assert "regression: 1 of 2 comparisons, of 12 % or more" in text
    assert "16 MB sequential work 4: change in %" in text

    assert main([*command, "--format", "json"]) == 10
    document = json.loads(capsys.readouterr().out)
    assert (document["outcome"], document["exit_status"], len(document["changes"])) == ("regression", 10, 6)
    assert document["changes"][1] | {"low": 0, "high": 0, "p_adjusted": 0} == {
        "method": "vcsp",
        "metric": "downtime",
        "workload": None,
        "pct": pytest.approx(-50),
        "low": 0,
        "high": 0,
        "p_adjusted": 0,
        "n_baseline": 6,
        "n_new": 6,
        "verdict": "regression",
        "decides": True,
    }

    assert main([*command, "--format", "junit"]) == 10
    suite = ElementTree.fromstring(capsys.readouterr().out)[0]
    assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "6",
        "failures": "1",
        "errors": "1",
    }
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["Downtime, all workloads"]


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_format_says_why_nothing_was_compared(tmp_path: Path, format_name: str) -> None:
    comparison = _compare(tmp_path, {"post-copy": STEADY}, {})
    output = FORMATS[format_name](comparison)
    assert "the new experiment has no valid trial" in output
    if format_name == "junit":
        assert ElementTree.fromstring(output)[0].get("errors") == "1"


def _changes(p_values: Sequence[float | None]) -> list[Change]:
    return [Change("m", "downtime", None, 0, 0, 0, p, 3, 3, "too few trials", True) for p in p_values]


def test_holm_by_hand() -> None:
    corrected = [change.p_adjusted for change in _corrected(_changes([0.01, None, 0.04, 0.03, 0.005]))]
    assert corrected == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06), pytest.approx(0.02)]


@given(st.lists(st.none() | st.floats(min_value=0, max_value=1), max_size=12))
def test_correction_keeps_order_and_never_makes_a_p_value_smaller(p_values: list[float | None]) -> None:
    corrected = [change.p_adjusted for change in _corrected(_changes(p_values))]
    pairs = [(before, after) for before, after in zip(p_values, corrected, strict=True) if before is not None]
    assert all(after is not None and before <= after <= 1 for before, after in pairs)
    assert [after for _, after in sorted(pairs)] == sorted(after for _, after in pairs if after is not None)
    assert [after for before, after in zip(p_values, corrected, strict=True) if before is None] == [None] * (
        len(p_values) - len(pairs)
    )


def test_of_16_comparisons_without_a_difference_one_is_called_a_regression_in_at_most_5_percent() -> None:
    from ansible_collections.vcsp.testbed.analysis.statistics.interval import arm, p_value

    random = np.random.default_rng(3)
    sides = [arm([1 + 0.1 * random.standard_normal((1000, 16, 3)) for _ in range(4)]) for _ in range(2)]
    p_values = p_value(*sides)
    false = sum(any((c.p_adjusted or 0) < 0.05 for c in _corrected(_changes(row))) for row in p_values.tolist())
    assert false / 1000 <= 0.05 + 3.1 * (0.05 * 0.95 / 1000) ** 0.5
