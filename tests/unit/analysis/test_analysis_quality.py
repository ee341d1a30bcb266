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
        {"method": method, "workload": workload, "valid": True, "downtime_ms": value}
        for (method, workload), cell in values.items()
        for value in cell
    ]
    return pd.DataFrame(rows).assign(**dict.fromkeys(OTHERS, float("nan")))


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
    (warning,) = noise_warnings(frame, build_table3(frame, BOTH), ())
    assert "Downtime of vcsp is known only to within" in warning.problem
    assert "times as many repeats" in warning.advice


def test_many_invalid_trials_are_a_warning() -> None:
    frame = _frame({("post-copy", "8 MB"): [100.0, 100, 100, 100]})
    assert noise_warnings(frame, None, ()) == ()
    frame.loc[0, "valid"] = False
    assert "1 of 4 trials are invalid" in str(noise_warnings(frame, None, ())[0])


def test_a_method_that_differs_from_itself_is_a_warning() -> None:
    check = SelfCheck("downtime", "split", 3, 1000, 12.0, 10.1)
    assert not check.passed
    (warning,) = noise_warnings(_frame({("post-copy", "8 MB"): [100.0, 100]}), None, [check])
    assert "differ from themselves in 12.0 %" in str(warning)


@pytest.mark.parametrize(("repeats", "how", "a_side"), [(3, "scatter", 3), (5, "scatter", 5), (10, "split", 5)])
def test_methods_do_not_differ_from_themselves(repeats: int, how: str, a_side: int) -> None:
    random = np.random.default_rng(repeats)
    frame = _frame(
        {
            (method, f"{window} MB"): (window * np.exp(0.2 * random.standard_normal(repeats))).tolist()
            for method in BOTH
            for window in (8, 16, 32, 64)
        }
    )
    (check,) = self_checks(frame, BOTH)
    assert (check.how, check.repeats, check.comparisons) == (how, a_side, 4000)
    assert check.passed
    assert check.false_percent <= 6
    assert self_checks(frame, BOTH) == (check,)
    assert self_checks(frame, BOTH, seed=2) != (check,)


def test_the_check_finds_an_interval_that_is_too_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.vcsp.testbed.analysis.statistics import quality

    exact = quality.ratio_interval

    def narrow(base: Any, new: Any) -> Any:
        low, high = exact(base, new)
        return (2 * low + high) / 3, (low + 2 * high) / 3

    monkeypatch.setattr(quality, "ratio_interval", narrow)
    random = np.random.default_rng(1)
    frame = _frame({(method, "8 MB"): (10 + random.standard_normal(10)).tolist() for method in BOTH})
    (check,) = self_checks(frame, BOTH)
    assert not check.passed


def test_too_few_repeats_or_methods_are_not_checked() -> None:
    assert self_checks(_frame({(method, "8 MB"): [1.0] for method in BOTH}), BOTH) == ()
    assert self_checks(_frame({("post-copy", "8 MB"): [1.0, 1.1, 1.2]}), BOTH) == ()
    assert self_checks(_frame({("post-copy", "8 MB"): [0.0] * 5}), BOTH) == ()


def test_table3_md_reports_all_of_it(tmp_path: Path) -> None:
    markdown = table3_markdown(summarise(factory.full(tmp_path)))
    for title in ("Up to: the best workload", "What quota and prefetching do", "A method against itself"):
        assert f"## {title}" in markdown
    assert "| vcsp | Downtime |" in markdown
    assert "| improvement |" in markdown
