# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which method is said to be best, and that none is where none differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ansible_collections.vcsp.testbed.analysis.presentation.wording import best_lines
from ansible_collections.vcsp.testbed.analysis.statistics.best import leaders
from ansible_collections.vcsp.testbed.analysis.statistics.metrics import METRICS


def table(values: Mapping[str, Mapping[str, Sequence[float]]]) -> pd.DataFrame:
    """Trials of methods by workload: downtime as given, other metrics missing."""
    rows = [
        {"method": method, "workload": workload, "valid": True, "downtime_ms": value}
        for method, by_workload in values.items()
        for workload, repeats in by_workload.items()
        for value in repeats
    ]
    missing = {metric.measurement: np.nan for metric in METRICS if metric.name != "downtime"}
    return pd.DataFrame(rows).assign(**missing)


def test_the_best_is_named_with_those_that_are_not_told_apart_from_it() -> None:
    near, far = [100.0, 102.0, 101.0, 99.0], [500.0, 510.0, 490.0, 505.0]
    trials = table(
        {
            "a": {"8 MB": far, "16 MB": far},
            "b": {"8 MB": near, "16 MB": near},
            "c": {"8 MB": [x + 1 for x in near], "16 MB": near},
        }
    )
    (leader,) = leaders(trials, ("a", "b", "c"))
    assert (leader.method, leader.tied, leader.behind) == ("b", ("c",), ("a",))
    (line,) = best_lines((leader,))
    assert line.startswith("Shortest downtime: b, 100 [")
    assert line.endswith("] ms; not told apart from it: c.")
    (alone,) = leaders(trials, ("a", "b"))
    assert best_lines((alone,))[0].endswith(" ms, ahead of all others.")


def test_single_trials_show_no_best() -> None:
    (leader,) = leaders(table({"a": {"8 MB": [100.0]}, "b": {"8 MB": [900.0]}}), ("a", "b"))
    assert (leader.method, leader.behind) == ("a", ())
    assert best_lines((leader,)) == ["Shortest downtime: no method is shown to be best; the mean of a is 100 ms."]


def test_only_workloads_that_all_methods_have_count_and_without_any_there_is_no_leader() -> None:
    trials = table({"a": {"8 MB": [1.0, 2.0], "16 MB": [900.0, 901.0]}, "b": {"8 MB": [10.0, 11.0]}})
    assert leaders(trials, ("a", "b"))[0].method == "a"
    assert not leaders(table({"a": {"8 MB": [1.0]}, "b": {"16 MB": [1.0]}}), ("a", "b"))
    assert not leaders(table({"a": {"8 MB": [1.0]}}), ("a",))
    assert not leaders(trials.assign(valid=False), ("a", "b"))


def test_methods_that_do_not_differ_are_rarely_told_apart() -> None:
    random = np.random.default_rng(1)
    wrong = 0
    for _experiment in range(400):
        values = {m: {w: random.normal(100, 10, 4).tolist() for w in ("8 MB", "64 MB")} for m in "abcd"}
        wrong += bool(leaders(table(values), tuple("abcd"))[0].behind)
    assert wrong <= 0.05 * 400
