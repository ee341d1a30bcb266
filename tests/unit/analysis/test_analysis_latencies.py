# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""QEMU's time of a page fault against the trace of page requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import experiment_factory as factory
import pytest

from ansible_collections.vcsp.testbed.analysis.statistics.latencies import latency_warnings
from ansible_collections.vcsp.testbed.analysis.summary import summarise
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import read_experiment

# Faults by the power of two in us: nearly all of 256 to 512 us, a few of 2 to 4 ms.
FAULTS = [0] * 8 + [1950, 0, 0, 50]


def warnings(directory: Path, faults: Any, gaps: Any, name: str = "post-copy", vcpus: int = 1) -> list[str]:
    of = factory.experiment(("post-copy", "post-copy-prefetching", "vcsp"), repeats=2)
    of["scenario"]["guest"]["vcpus"] = vcpus
    records = [factory.sound(of, name, repeat=repeat)[0] for repeat in (1, 2)]
    for record in records:
        record["trial"]["guest"]["vcpus"] = vcpus
        for instrument, key, value in (
            ("qemu_blocktime", "postcopy_latency_dist", faults),
            ("request_trace", "gaps", gaps),
        ):
            values = record["instruments"].get(instrument, {}).get("values", {}) | {key: value}
            record["instruments"][instrument] = {"present": True, "reason": None, "values": values}
    found = read_experiment(factory.write(directory, of, records))
    said = [warning.problem for warning in latency_warnings(found)]
    assert set(said) <= {warning.problem for warning in summarise(directory).warnings}
    return said


def test_instruments_that_agree_raise_no_warning(tmp_path: Path) -> None:
    assert not warnings(tmp_path, FAULTS, {"8": 1950, "11": 50})


def test_a_gap_that_is_a_power_of_two_longer_raises_no_warning(tmp_path: Path) -> None:
    assert not warnings(tmp_path, FAULTS, {"9": 1950, "12": 50})


@pytest.mark.parametrize(
    ("gaps", "quantiles"),
    [
        ({"6": 1950, "11": 50}, {"median"}),
        ({"11": 1950, "12": 50}, {"median"}),
        ({"8": 2000}, {"99th percentile"}),
        ({"6": 2000}, {"median", "99th percentile"}),
    ],
)
def test_those_that_disagree_by_more_than_a_factor_of_two_do(
    tmp_path: Path, gaps: dict[str, int], quantiles: set[str]
) -> None:
    said = warnings(tmp_path, FAULTS, gaps)
    assert len(said) == len(quantiles)
    for quantile in quantiles:
        assert any(f"({quantile})" in each for each in said)


@pytest.mark.parametrize("change", [{"name": "vcsp"}, {"name": "post-copy-prefetching"}, {"vcpus": 2}])
def test_where_a_gap_is_more_than_a_fault_nothing_is_compared(tmp_path: Path, change: dict[str, Any]) -> None:
    assert not warnings(tmp_path, FAULTS, {"6": 2000}, **change)


@pytest.mark.parametrize("strange", [None, "12", [], [1.5], [-1], [True], {"x": 1}, {"99": 1}, {"3": "many"}, [0, 0]])
def test_what_is_no_histogram_is_not_compared(tmp_path: Path, strange: Any) -> None:
    assert not warnings(tmp_path, strange, {"6": 2000})
    assert not warnings(tmp_path, FAULTS, strange)
