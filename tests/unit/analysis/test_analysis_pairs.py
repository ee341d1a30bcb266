# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Several pairs of hosts: blocks where they are alike, refused where they are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import experiment_factory as factory
import numpy as np
import pytest

from ansible_collections.vcsp.testbed.analysis.nightly.nights import read_night
from ansible_collections.vcsp.testbed.analysis.statistics.interval import Values, arm, ratio_interval
from ansible_collections.vcsp.testbed.analysis.statistics.table3 import Cell
from ansible_collections.vcsp.testbed.analysis.summary import Summary, summarise

BOTH = ("post-copy", "vcsp")
# The second pair is three times as slow, whatever the method.
DOWNTIMES_MS = {"left": {"post-copy": [100, 104, 97], "vcsp": [50, 52, 49]}}
DOWNTIMES_MS["right"] = {method: [3 * value for value in values] for method, values in DOWNTIMES_MS["left"].items()}


def summary(
    directory: Path, downtimes_ms: Mapping[str, Mapping[str, Sequence[float]]], named: bool = True, **of_right: Any
) -> Summary:
    """Analyse an experiment, given the downtimes that each pair measured of each method, one per repeat."""
    count = sum(max(map(len, by_method.values())) for by_method in downtimes_ms.values())
    of = factory.experiment(BOTH, repeats=count)
    records, first = [], 1
    for pair, by_method in downtimes_ms.items():
        for method, values in by_method.items():
            for repeat, value in enumerate(values, start=first):
                record = factory.record(of, method, repeat=repeat, measurements={"downtime_ms": value})
                facts = {"kernel": "6.12.0", "qemu": {"version": "10.0.2"}, **(of_right if pair == "right" else {})}
                for host in ("source", "destination"):
                    name = f"{pair}-{host}" if named else host
                    record["provenance"][host] = {"hostname": name, "boot_id": name, **facts}
                if named:
                    record["trial"]["pair"] = pair
                records.append(record)
        first += max(map(len, by_method.values()))
    return summarise(factory.write(directory, of, records))


def downtime(found: Summary) -> Cell:
    assert found.table is not None, found.notice
    return found.table.rows[0].cells["downtime"]


def test_what_a_pair_adds_to_all_methods_does_not_widen_an_interval(tmp_path: Path) -> None:
    blocked = downtime(summary(tmp_path / "pairs", DOWNTIMES_MS)).baseline
    pooled = downtime(summary(tmp_path / "pooled", DOWNTIMES_MS, named=False)).baseline
    assert blocked.pct == pytest.approx(pooled.pct)
    assert blocked.verdict == "improvement"
    assert blocked.low is not None and blocked.high is not None and blocked.high - blocked.low < 10
    assert pooled.low is None or pooled.high is None or pooled.high - pooled.low > 50


def test_pairs_have_equal_weight_within_a_workload(tmp_path: Path) -> None:
    more = {**DOWNTIMES_MS, "left": {method: [*values, *values] for method, values in DOWNTIMES_MS["left"].items()}}
    assert downtime(summary(tmp_path / "more", more)).baseline.pct == pytest.approx(
        downtime(summary(tmp_path / "equal", DOWNTIMES_MS)).baseline.pct
    )


def test_a_pair_that_died_early_is_left_out_and_listed(tmp_path: Path) -> None:
    died = {**DOWNTIMES_MS, "right": {"post-copy": [300, 312], "vcsp": [150]}}
    found = summary(tmp_path, died)
    assert downtime(found).n_baseline == 3
    assert downtime(found).baseline.low is not None
    left_out = found.trials[~found.trials["valid"]]
    assert set(left_out["pair"]) == {"right"}
    assert all("its pair has a single trial" in reason for reason in left_out["reasons"])


def test_pairs_of_one_repeat_each_have_no_interval(tmp_path: Path) -> None:
    found = summary(
        tmp_path, {pair: {name: values[:1] for name, values in by.items()} for pair, by in DOWNTIMES_MS.items()}
    )
    assert downtime(found).n == 2
    assert downtime(found).baseline.low is None


def test_unlike_pairs_are_refused(tmp_path: Path) -> None:
    found = summary(tmp_path, DOWNTIMES_MS, kernel="6.13.1")
    assert found.table is None and found.notice is not None
    assert "kernel of the source: 6.12.0 (6 trials), 6.13.1 (6 trials)" in found.notice


def test_a_pair_keeps_its_hosts(tmp_path: Path) -> None:
    found = summary(tmp_path, DOWNTIMES_MS)
    assert found.unlike == ()
    of, records = found.experiment.experiment, [dict(record.data) for record in found.experiment.records]
    source = {**records[0]["provenance"]["source"], "hostname": "another"}
    records[0] = {**records[0], "provenance": {**records[0]["provenance"], "source": source}}
    (unlike,) = summarise(factory.write(tmp_path / "moved", of, records)).unlike
    assert unlike.what == "name of the source"


def test_the_difference_between_pairs_is_no_drift(tmp_path: Path) -> None:
    (check,) = summary(tmp_path / "steady", DOWNTIMES_MS).self_checks
    assert check.passed
    rising = {
        pair: {name: [value * 2**number for number, value in enumerate(values)] for name, values in by_method.items()}
        for pair, by_method in DOWNTIMES_MS.items()
    }
    (check,) = summary(tmp_path / "rising", rising).self_checks
    assert check.drifted


def test_pairs_that_measured_each_other_are_warned_of(tmp_path: Path) -> None:
    def warned(name: str, **facts: Any) -> list[str]:
        found = summary(tmp_path / name, DOWNTIMES_MS, **facts).warnings
        return [each.problem for each in found if "machine" in each.problem]

    # All records of the factory are of one minute.
    assert warned("apart") == []
    (problem,) = warned("together", boot_id="left-source")
    assert problem == "6 trials of left ran on the machine of right while that measured"


def test_a_night_compares_each_pair_with_itself(tmp_path: Path) -> None:
    night = read_night(summary(tmp_path, DOWNTIMES_MS).experiment.directory)
    measured = {cell: values["downtime"] for cell, values in night.values.items() if values}
    assert measured["0008mb-sequential-vcsp on left"] == [50, 52, 49]
    assert measured["0008mb-sequential-vcsp on right"] == [150, 156, 147]
    assert night.failures == ()


@pytest.mark.parametrize("repeats", [2, 3, 5])
def test_a_method_differs_from_itself_in_at_most_5_percent_over_pairs(repeats: int) -> None:
    simulations, pairs = 8000, 2
    random = np.random.default_rng(repeats)

    def groups() -> list[Values]:
        return [3.0**pair * (1 + 0.2 * random.standard_normal((simulations, repeats))) for pair in range(pairs)]

    low, high = ratio_interval(*(arm(groups(), [1 / pairs] * pairs) for _ in range(2)))
    assert np.mean((low > 1) | (high < 1)) <= 0.05 + 3.1 * np.sqrt(0.05 * 0.95 / simulations)
