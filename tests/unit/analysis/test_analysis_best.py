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
        {"method": method, "workload": workload, "pair": "", "valid": True, "downtime_ms": value}
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
    assert line.endswith("] ms, ahead of a; not told apart from it: c.")
    (alone,) = leaders(trials, ("a", "b"))
    assert best_lines((alone,))[0].endswith("] ms, ahead of a.")


def test_single_trials_show_no_best() -> None:
    (leader,) = leaders(table({"a": {"8 MB": [100.0]}, "b": {"8 MB": [900.0]}}), ("a", "b"))
    assert (leader.method, leader.behind, leader.tied, leader.unknown) == ("a", (), (), ("b",))
    (line,) = best_lines((leader,))
    assert line.startswith("Shortest downtime: no method is shown to be best; the mean of a is 100 ms; too few valid")


def test_a_method_that_lacks_a_workload_is_not_compared_and_takes_it_from_no_other() -> None:
    whole = {"8 MB": [1.0, 2.0], "16 MB": [900.0, 901.0]}
    slower = {name: [x + 500 for x in values] for name, values in whole.items()}
    trials = table({"a": whole, "b": {"8 MB": [0.1, 0.2]}, "c": slower})
    (leader,) = leaders(trials, ("a", "b", "c", "d"))
    assert (leader.method, leader.behind, leader.unknown) == ("a", ("c",), ("b", "d"))
    assert leader.mean.mean == 451
    assert best_lines((leader,))[0].endswith("ahead of c; too few valid trials to say anything of b, d.")
    assert not leaders(table({"a": {"8 MB": [1.0]}, "b": {"16 MB": [1.0]}}), ("a", "b"))
    assert not leaders(table({"a": {"8 MB": [1.0]}}), ("a",))
    assert not leaders(trials.assign(valid=False), ("a", "b"))


def test_a_workload_in_which_another_method_is_ahead_is_named() -> None:
    trials = table(
        {
            "a": {"8 MB": [10.0, 10.1, 10.2], "64 MB": [200.0, 201.0, 202.0]},
            "b": {"8 MB": [15.0, 15.1, 15.2], "64 MB": [90.0, 91.0, 92.0]},
        }
    )
    (leader,) = leaders(trials, ("a", "b"))
    assert (leader.method, dict(leader.elsewhere)) == ("b", {"8 MB": "a"})
    assert best_lines((leader,))[0].endswith("ahead of a; with 8 MB alone, a is ahead of it.")


def test_methods_that_do_not_differ_are_rarely_told_apart() -> None:
    random = np.random.default_rng(1)
    wrong = 0
    for _experiment in range(400):
        values = {m: {w: random.normal(100, 10, 4).tolist() for w in ("8 MB", "64 MB")} for m in "abcd"}
        wrong += bool(leaders(table(values), tuple("abcd"))[0].behind)
    assert wrong <= 0.05 * 400
