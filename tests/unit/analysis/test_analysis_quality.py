# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What shows whether the numbers can be relied on: instruments, noise, and methods against themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import experiment_factory as factory
import numpy as np
import pandas as pd
import pytest

from ansible_collections.vcsp.testbed.analysis.presentation.tables import table3_markdown
from ansible_collections.vcsp.testbed.analysis.statistics.agreement import agreement, instrument_readings
from ansible_collections.vcsp.testbed.analysis.statistics.quality import SelfCheck, noise_warnings, self_checks
from ansible_collections.vcsp.testbed.analysis.statistics.table3 import build_table3
from ansible_collections.vcsp.testbed.analysis.summary import summarise
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import read_experiment

BOTH = ("post-copy", "vcsp")
OTHERS = ("total_migration_time_s", "page_requests", "throughput_mb_per_s")


def _frame(values: dict[tuple[str, str], list[float]]) -> pd.DataFrame:
    """Make a table of downtimes (ms) by method and workload."""
    rows = [
        {"method": method, "workload": workload, "repeat": repeat, "valid": True, "downtime_ms": value}
        for (method, workload), cell in values.items()
        for repeat, value in enumerate(cell, start=1)
    ]
    return pd.DataFrame(rows).assign(pair="", **dict.fromkeys(OTHERS, float("nan")))


def _instruments(wait_ms: float | None, stall_ms: Any, blocktime: Any) -> dict[str, Any]:
    of = factory.experiment(BOTH)
    record = factory.record(of, measurements={"downtime_ms": 1.0} | ({"page_wait_ms": wait_ms} if wait_ms else {}))
    values = {"guest_stalls": {"stall_ms": stall_ms}, "qemu_blocktime": {"postcopy_vcpu_blocktime": blocktime}}
    record["instruments"] = {name: {"present": True, "reason": None, "values": value} for name, value in values.items()}
    return record


def test_agreement_is_a_ratio_to_the_page_wait(tmp_path: Path) -> None:
    of = factory.experiment(BOTH)
    readings = instrument_readings(read_experiment(factory.write(tmp_path, of, [_instruments(400, 500, [100, 220])])))
    assert readings.loc[0, ["page_wait_ms", "guest_stall_ms", "qemu_blocktime_ms"]].tolist() == [400, 500, 320]
    rows = agreement(readings).set_index("instrument")
    assert rows.loc["guest_stall_ms", "median"] == pytest.approx(1.25)
    assert rows.loc["qemu_blocktime_ms", ["n", "least", "most"]].tolist() == pytest.approx([1, 0.8, 0.8])


@pytest.mark.parametrize(
    ("wait", "stall", "blocktime"),
    [(None, 500, [1]), (400, "x", []), (400, None, None), (400, True, ["x"]), (400, {}, [True]), (0, 5, [5])],
)
def test_a_missing_or_odd_reading_gives_no_ratio(
    tmp_path: Path, wait: float | None, stall: Any, blocktime: Any
) -> None:
    of = factory.experiment(BOTH)
    experiment = read_experiment(factory.write(tmp_path, of, [_instruments(wait, stall, blocktime)]))
    assert agreement(instrument_readings(experiment)).empty


def test_cells_that_scatter_are_named_with_what_to_do() -> None:
    frame = _frame({("post-copy", "8 MB"): [100, 150, 60], ("vcsp", "8 MB"): [50, 51, 52], ("vcsp", "9 MB"): [1]})
    warnings = [str(each) for each in noise_warnings(frame, None, ())]
    assert len(warnings) == 1
    assert warnings[0].startswith("Downtime of post-copy, 8 MB, scatters by 44 % over 3 repeats: quiet the machine")
    assert "raise repeats" in warnings[0]


def test_a_wide_interval_says_how_many_repeats_it_takes() -> None:
    frame = _frame({("post-copy", "8 MB"): [80, 100, 120], ("vcsp", "8 MB"): [85, 100, 115]})
    (warning,) = noise_warnings(frame, build_table3(frame, BOTH, factory.ROLES), ())
    assert "Downtime of vcsp is known only to within" in warning.problem
    assert "times as many repeats" in warning.advice


def test_many_invalid_trials_are_a_warning() -> None:
    frame = _frame({("post-copy", "8 MB"): [100.0, 100, 100, 100]})
    assert noise_warnings(frame, None, ()) == ()
    frame.loc[0, "valid"] = False
    assert "1 of 4 trials are invalid" in str(noise_warnings(frame, None, ())[0])


def _series(seed: int, repeats: int, sigma: float, cells: int = 4, tail: bool = False) -> np.ndarray[Any, Any]:
    """Make the repeats of ``cells`` cells that only scatter, cells by repeats."""
    random = np.random.default_rng(seed)
    noise = random.standard_t(4, (cells, repeats)) if tail else random.standard_normal((cells, repeats))
    return 100 * np.arange(1, cells + 1)[:, None] * np.exp(sigma * noise)


def _checked(series: np.ndarray[Any, Any]) -> tuple[SelfCheck, ...]:
    cells = [(method, f"{window} MB") for window in range(len(series)) for method in BOTH][: len(series)]
    return self_checks(_frame({cell: row.tolist() for cell, row in zip(cells, series, strict=True)}), BOTH)


def _drift(series: np.ndarray[Any, Any]) -> None:
    series *= np.geomspace(1, 5, series.shape[1])


def _step(series: np.ndarray[Any, Any]) -> None:
    series[:, series.shape[1] // 2 :] *= 3


def _outlier(series: np.ndarray[Any, Any]) -> None:
    series[0, 1] *= 20


@pytest.mark.parametrize("repeats", [3, 5, 10])
@pytest.mark.parametrize("spoil", [_drift, _step, _outlier])
def test_drift_steps_and_outliers_are_warned_of(spoil: Any, repeats: int) -> None:
    missed = 0
    for seed in range(50):
        series = _series(seed, repeats, 0.1)
        spoil(series)
        (check,) = _checked(series)
        wanted = bool(check.outliers) if spoil is _outlier else check.drifted
        missed += not wanted
        assert not wanted or noise_warnings(_frame({("post-copy", "8 MB"): [1.0, 1.0]}), None, [check])
    assert missed <= 1


@pytest.mark.parametrize(
    ("repeats", "sigma", "tail"), [(3, 0.05, False), (3, 0.2, False), (5, 0.2, True), (10, 0.2, True)]
)
def test_mere_scatter_is_hardly_ever_warned_of(repeats: int, sigma: float, tail: bool) -> None:
    checks = [check for seed in range(200) for check in _checked(_series(seed, repeats, sigma, tail=tail))]
    # Long tails do have outliers, which are no drift.
    assert sum(check.drifted if tail else not check.passed for check in checks) <= 2


def test_the_drift_of_a_single_method_is_found_by_its_halves() -> None:
    series = _series(1, 10, 0.1)
    series[0::2, 5:] *= 5
    (check,) = _checked(series)
    assert check.p_halves is not None
    assert check.p_halves < 1e-3
    assert check.drifted


def test_missing_repeats_do_not_look_like_drift() -> None:
    series = _series(1, 10, 0.05)
    series[3, 4:] = np.nan
    series[0, 0] = np.nan
    (check,) = _checked(series)
    assert check.passed


def test_a_single_repeat_or_no_scatter_is_not_checked() -> None:
    assert self_checks(_frame({(method, "8 MB"): [1.0] for method in BOTH}), BOTH) == ()
    assert self_checks(_frame({("post-copy", "8 MB"): [0.0] * 5}), BOTH) == ()
    (check,) = self_checks(_frame({(method, "8 MB"): [5.0] * 5 for method in BOTH}), BOTH)
    assert check.passed
    assert check.p_blocks is None


def test_table3_md_reports_all_of_it(tmp_path: Path) -> None:
    markdown = table3_markdown(summarise(factory.full(tmp_path)))
    for title in ("Up to: the best workload", "What quota and prefetching do", "A method against itself"):
        assert f"## {title}" in markdown
    assert "| vcsp | Downtime |" in markdown
    assert "| improvement |" in markdown
