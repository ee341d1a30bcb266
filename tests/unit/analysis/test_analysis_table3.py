# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Table 3: the arithmetic on data that can be followed by hand."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import experiment_factory as factory
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ansible_collections.vcsp.testbed.analysis.data.table import tidy
from ansible_collections.vcsp.testbed.analysis.presentation.wording import verdict_sentences
from ansible_collections.vcsp.testbed.analysis.statistics.interval import MISSING
from ansible_collections.vcsp.testbed.analysis.statistics.table3 import (
    Cell,
    NoTableError,
    Table3,
    build_table3,
    table3_csv,
)
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import read_experiment

BOTH = ("post-copy", "vcsp")
Trials = Mapping[tuple[str, int], Sequence[float | None]]


def _frame(downtimes_ms: Trials, measurement: str = "downtime_ms") -> pd.DataFrame:
    """Make a table from values by method and window, one per trial; None is an invalid trial."""
    rows = [
        {"method": method, "workload": f"{window} MB", "pair": "", "valid": value is not None, measurement: value}
        for (method, window), values in downtimes_ms.items()
        for value in values
    ]
    columns = ("downtime_ms", "total_migration_time_s", "page_requests", "throughput_mb_per_s")
    frame = pd.DataFrame(rows, columns=["method", "workload", "pair", "valid", *columns])
    return frame.astype(dict.fromkeys(columns, "float64"))


def _downtime(downtimes_ms: Trials) -> Cell:
    return build_table3(_frame(downtimes_ms), BOTH, factory.ROLES).rows[0].cells["downtime"]


def test_a_ratio_of_means_in_both_conventions() -> None:
    # Means of means: post-copy (100 + 300) / 2 = 200, vcsp (200 + 300) / 2 = 250. Means of all trials would differ.
    cell = _downtime(
        {
            ("post-copy", 8): [90, 110],
            ("post-copy", 64): [300, 300, 300],
            ("vcsp", 8): [150, 200, 250],
            ("vcsp", 64): [300, 300],
        }
    )
    assert cell.baseline.pct == pytest.approx((200 - 250) / 200 * 100)
    assert cell.paper.pct == pytest.approx((200 - 250) / 250 * 100)
    assert (cell.n, cell.n_baseline) == (5, 5)
    assert cell.workloads == ("8 MB", "64 MB")


def test_more_throughput_is_better() -> None:
    frame = _frame({("post-copy", 8): [80, 80], ("vcsp", 8): [100, 100]}, "throughput_mb_per_s")
    cell = build_table3(frame, BOTH, factory.ROLES).rows[0].cells["throughput"]
    assert cell.baseline.pct == pytest.approx(25)
    assert cell.paper.pct == pytest.approx(20)


def test_only_workloads_in_which_both_have_valid_trials_count() -> None:
    cell = _downtime(
        {
            ("post-copy", 8): [100, 100],
            ("post-copy", 64): [9999, 9999],
            ("vcsp", 8): [50, 50, None],
            ("vcsp", 64): [None, None],
            ("vcsp", 128): [1, 1],
        }
    )
    assert cell.baseline.pct == pytest.approx(50)
    assert cell.n == 2
    assert cell.workloads == ("8 MB",)


def test_an_interval_is_that_of_fieller_and_welch() -> None:
    cell = _downtime({("post-copy", 8): [90, 110, 100], ("vcsp", 8): [50, 70, 60]})
    # By hand: means 100 and 60, each of variance 100 / 3; the degrees of freedom of 60 - 0.6 * 100 are Satterthwaite's.
    variance = 100 / 3
    quantile = stats.t.ppf(0.975, (1 + 0.36) ** 2 / (1 / 2 + 0.36**2 / 2))
    square, constant = 100**2 - quantile**2 * variance, 60**2 - quantile**2 * variance
    root = math.sqrt(6000**2 - square * constant)
    assert cell.baseline.low == pytest.approx(100 * (1 - (6000 + root) / square))
    assert cell.baseline.high == pytest.approx(100 * (1 - (6000 - root) / square))


def test_intervals_do_not_depend_on_the_other_methods() -> None:
    trials: dict[tuple[str, int], Sequence[float | None]] = {
        ("post-copy", 8): [100, 104, 110, 121, 127, 131],
        ("vcsp", 8): [50, 70, 61, 64, 83, 52],
        ("vcsp-prefetching", 8): [50, 70, 65],
    }
    alone = build_table3(_frame(trials), BOTH, factory.ROLES).rows[0]
    assert build_table3(_frame(trials), ["post-copy", "vcsp-prefetching", "vcsp"], factory.ROLES).rows[1] == alone


def test_up_to_names_the_best_workload_and_is_not_the_overall_value() -> None:
    cell = _downtime(
        {("post-copy", 8): [100, 102], ("vcsp", 8): [50, 52], ("post-copy", 64): [200, 202], ("vcsp", 64): [180, 182]}
    )
    assert cell.best is not None
    assert cell.best.workload == "8 MB"
    assert cell.best.estimate.pct == pytest.approx(100 * 50 / 101)
    assert cell.best.estimate.verdict == "improvement"
    assert cell.baseline.pct == pytest.approx(100 * 70 / 302)
    assert _downtime({("post-copy", 8): [100, 102], ("vcsp", 8): [50, 52]}).best is None


def test_the_best_workload_of_a_worse_method_is_the_least_bad_one() -> None:
    trials: Trials = {("post-copy", 8): [100], ("vcsp", 8): [150], ("post-copy", 9): [100], ("vcsp", 9): [110]}
    best = _downtime(trials).best
    assert best is not None
    assert best.workload == "9 MB"
    assert best.estimate.pct == pytest.approx(-10)
    assert best.estimate.verdict is None


def test_a_single_trial_has_no_interval() -> None:
    cell = _downtime({("post-copy", 8): [100, 100], ("vcsp", 8): [50, None]})
    assert cell.baseline.pct == pytest.approx(50)
    assert (cell.baseline.low, cell.baseline.high) == (None, None)


def test_a_mean_of_zero_gives_no_ratio() -> None:
    trials = {("post-copy", 8): [0, 0], ("vcsp", 8): [5, 5], ("post-copy", 9): [0, 0], ("vcsp", 9): [1, 1]}
    cell = _downtime(trials)
    assert cell.baseline == MISSING
    assert cell.paper.pct == pytest.approx(-100)


def test_a_baseline_indistinguishable_from_zero_gives_no_interval() -> None:
    cell = _downtime({("post-copy", 8): [0, 10], ("vcsp", 8): [5, 5]})
    assert cell.baseline.pct == pytest.approx(0)
    assert cell.baseline.low is None


@pytest.mark.parametrize(
    ("trials", "methods", "expected"),
    [
        ({}, BOTH, "none of the 0 trials that were read is valid"),
        ({("post-copy", 8): [None], ("vcsp", 8): [None]}, BOTH, "none of the 2 trials"),
        ({("vcsp", 8): [1.0]}, ("vcsp",), "no trial of post-copy is valid"),
        ({("vcsp", 8): [1.0], ("post-copy", 8): [None]}, BOTH, "no trial of post-copy is valid"),
        ({("post-copy", 8): [1.0]}, ("post-copy",), "no method to compare"),
        ({("post-copy", 8): [1.0], ("vcsp", 64): [1.0]}, BOTH, "no workload has a valid measurement of both"),
    ],
)
def test_without_anything_to_compare_there_is_no_table(trials: Trials, methods: Sequence[str], expected: str) -> None:
    with pytest.raises(NoTableError, match=expected):
        build_table3(_frame(trials), methods, factory.ROLES)


def test_the_csv_has_the_agreed_columns_and_leaves_missing_cells_empty() -> None:
    table = build_table3(
        _frame({("post-copy", 8): [100, 100], ("vcsp", 8): [50, 50]}), [*BOTH, "vcsp-prefetching"], factory.ROLES
    )
    rows = list(csv.DictReader(io.StringIO(table3_csv(table, "baseline"))))
    assert list(rows[0]) == ["method"] + [
        f"{metric}_{part}"
        for metric in ("downtime", "total_migration_time", "pages_transferred", "throughput")
        for part in ("pct", "low", "high", "n")
    ]
    vcsp, absent = rows
    assert vcsp["downtime_pct"] == "50.0000"
    assert vcsp["downtime_n"] == "2"
    assert vcsp["throughput_pct"] == vcsp["throughput_low"] == vcsp["throughput_high"] == ""
    assert absent["method"] == "vcsp-prefetching"
    assert absent["downtime_pct"] == ""
    assert absent["downtime_n"] == "0"


_positive = st.floats(min_value=1, max_value=1e6)
_repeats = st.lists(_positive, min_size=1, max_size=4)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from([8, 16, 32]), st.tuples(_repeats, _repeats), min_size=1))
def test_what_holds_for_all_data(values: dict[int, tuple[list[float], list[float]]]) -> None:
    trials: dict[tuple[str, int], Sequence[float | None]] = {}
    for window, (base, new) in values.items():
        trials[("post-copy", window)], trials[("vcsp", window)] = base, new
    cell = _downtime(trials)
    assert cell.baseline.pct is not None
    assert cell.paper.pct is not None
    assert -100 <= cell.paper.pct <= 100
    assert cell.baseline.pct <= 100
    # The conventions agree in sign, and on an improvement altogether.
    assert (cell.baseline.pct > 0) == (cell.paper.pct > 0)
    if cell.baseline.pct > 0:
        assert cell.baseline.pct == pytest.approx(cell.paper.pct)
    for estimate in (cell.baseline, cell.paper):
        if estimate.low is not None:
            assert estimate.high is not None
            assert estimate.pct is not None
            assert estimate.low - 1e-6 <= estimate.pct <= estimate.high + 1e-6
    assert cell.baseline.verdict == cell.paper.verdict


def test_the_tidy_table_has_one_row_per_trial_with_missing_as_nan(tmp_path: Path) -> None:
    of = factory.experiment(BOTH, [factory.workload(64), factory.workload(8, "random", 7)], 2)
    records: list[dict[str, Any]] = [
        factory.record(of, "vcsp", of["scenario"]["workloads"][1], 2),
        factory.record(of, "post-copy", of["scenario"]["workloads"][1], 1, reasons=["first", "second"]),
        factory.record(of, "vcsp", of["scenario"]["workloads"][0], 1, {"page_requests": 0}),
    ]
    frame = tidy(read_experiment(factory.write(tmp_path, of, records)))
    assert list(frame["method"]) == ["vcsp", "post-copy", "vcsp"]  # the scenario's order, not the alphabet's
    assert list(frame["window_mb"]) == [64, 8, 8]
    assert list(frame["workload"]) == ["64 MB sequential work 4", "8 MB random work 7", "8 MB random work 7"]
    assert list(frame["valid"]) == [True, False, True]
    assert list(frame["reasons"]) == ["", "first; second", ""]
    assert frame["page_requests"][0] == 0
    assert frame["downtime_ms"].isna().tolist() == [True, True, False]
    assert (frame.dtypes[["downtime_ms", "page_requests"]] == "float64").all()


def test_the_tidy_table_of_no_trials_has_its_columns(tmp_path: Path) -> None:
    frame = tidy(read_experiment(factory.write(tmp_path, factory.experiment(), [])))
    assert frame.empty
    assert {"trial_id", "window_mb", "downtime_ms", "valid"} <= set(frame.columns)


def test_a_verdict_decides_only_what_the_interval_decides() -> None:
    def table(base: Sequence[float], new: Sequence[float]) -> Table3:
        return build_table3(_frame({("post-copy", 8): base, ("vcsp", 8): new}), BOTH, factory.ROLES)

    def verdict(base: Sequence[float], new: Sequence[float]) -> str:
        return verdict_sentences(table(base, new))[0]

    rest = "it has no value for total migration time, pages transferred, throughput."
    assert verdict([100, 101], [50, 51]).startswith("Against post-copy, vcsp improves downtime by 49.8 % [")
    assert verdict([100, 101], [50, 51]).endswith(f"]; {rest}")
    assert verdict([50, 51], [100, 101]).startswith("Against post-copy, vcsp worsens downtime by 99.0 % [")
    assert "shows no difference in downtime (-2.0 % [" in verdict([100, 104], [99, 109])
    assert "has no interval, so no verdict, for downtime (+50.0 %);" in verdict([100], [50])
