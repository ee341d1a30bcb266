# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the time goes, and what quota and prefetching contribute."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import experiment_factory as factory
import numpy as np
import pandas as pd
import pytest

from ansible_collections.vcsp.testbed.analysis.data.table import tidy
from ansible_collections.vcsp.testbed.analysis.statistics.decomposition import (
    PARTS,
    mean_losses,
    mean_parts,
    time_parts,
)
from ansible_collections.vcsp.testbed.analysis.statistics.factorial import factorial_effects
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import read_experiment

COLUMNS = [part.column for part in PARTS]


def _trial(of: dict[str, Any], name: str, repeat: int = 1, **changes: Any) -> dict[str, Any]:
    """Make a trial of 1500 ms from resume to completion: 400 page wait, 500 run queue, so 600 on CPU; 20 blackout."""
    values = {
        "stop_and_copy_ms": 20.0,
        "page_wait_ms": 400.0,
        "throttled_ms": None if name == "post-copy" else 300.0,
        "stall_loss_s": 0.5,
        **changes,
    }
    record = factory.record(of, name, repeat=repeat, measurements=values)
    record["instruments"]["schedstat"]["values"]["run_queue_ms"] = 500.0
    return record


def _parts(directory: Path, of: dict[str, Any], *records: dict[str, Any]) -> pd.DataFrame:
    return time_parts(read_experiment(factory.write(directory, of, records)))


def test_the_parts_of_a_trial_add_up(tmp_path: Path) -> None:
    of = factory.experiment()
    parts = _parts(tmp_path, of, _trial(of, "post-copy"), _trial(of, "vcsp")).set_index("method")
    assert parts.loc["post-copy", COLUMNS].tolist() == pytest.approx([20, 400, 0, 500, 600])
    assert parts.loc["vcsp", COLUMNS].tolist() == pytest.approx([20, 400, 300, 200, 600])
    assert parts["total_ms"].tolist() == pytest.approx([1520, 1520])
    assert parts["stall_loss_s"].tolist() == [0.5, 0.5]
    assert parts["slow_down_percent"].isna().all()


def test_parts_are_those_of_one_virtual_cpu(tmp_path: Path) -> None:
    of = factory.experiment()
    of["scenario"]["guest"]["vcpus"] = 2
    parts = _parts(tmp_path, of, _trial(of, "post-copy"))
    assert parts.loc[0, COLUMNS].tolist() == pytest.approx([20, 200, 0, 250, 1050])
    assert parts["total_ms"].tolist() == pytest.approx([1520])


def test_no_more_is_throttled_than_waited_for_a_processor(tmp_path: Path) -> None:
    of = factory.experiment()
    parts = _parts(tmp_path, of, _trial(of, "vcsp", throttled_ms=700.0))
    assert parts.loc[0, COLUMNS].tolist() == pytest.approx([20, 400, 500, 0, 600])


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["measurements"].update(page_wait_ms=None),
        lambda record: record["measurements"].update(stop_and_copy_ms=None),
        lambda record: record["measurements"].update(throttled_ms=None),
        lambda record: record["instruments"]["schedstat"]["values"].pop("run_queue_ms"),
        lambda record: record["instruments"]["schedstat"]["values"].update(run_queue_ms="500"),
        lambda record: record["instruments"]["schedstat"]["values"].update(run_queue_ms=-1),
        lambda record: record["instruments"]["schedstat"]["values"].update(run_queue_ms=1400),
        lambda record: record["instruments"]["schedstat"].update(present=False),
        lambda record: record.update(events=[]),
        lambda record: record["events"][2].update(time_s=None),
        lambda record: record.update(validity={"valid": False, "reasons": ["why"]}),
    ],
)
def test_a_trial_without_all_parts_is_left_out_and_not_zero(tmp_path: Path, change: Any) -> None:
    of = factory.experiment()
    record = copy.deepcopy(_trial(of, "vcsp"))
    change(record)
    assert _parts(tmp_path, of, record).empty


def test_means_have_shares_and_intervals(tmp_path: Path) -> None:
    of = factory.experiment()
    records = [_trial(of, "vcsp", repeat, page_wait_ms=wait) for repeat, wait in enumerate((300.0, 400.0, 500.0), 1)]
    parts = _parts(tmp_path, of, *records, _trial(of, "post-copy"))
    rows = mean_parts(parts).set_index(["method", "part"])
    wait = rows.loc[("vcsp", "page_wait_ms")]
    assert (wait["mean"], wait["n"]) == (400, 3)
    assert wait["low"] == pytest.approx(400 - 4.3027 * 100 / 3**0.5, abs=0.01)
    assert wait["share_percent"] == pytest.approx(100 * 400 / 1520)
    assert np.isnan(rows.loc[("post-copy", "page_wait_ms"), "low"])
    assert rows.groupby("method")["share_percent"].sum().tolist() == pytest.approx([100, 100])
    losses = mean_losses(parts)
    assert set(losses["loss"]) == {"stall_loss_s", "unexplained_s"}  # no trial has a slow-down
    stall_loss = losses[losses["loss"] == "stall_loss_s"]
    assert stall_loss.set_index("method")["n"].to_dict() == {"vcsp": 3, "post-copy": 1}
    waited_s = parts[["page_wait_ms", "throttled_ms", "queued_ms"]].sum(axis=1) / 1000
    assert parts["unexplained_s"].tolist() == pytest.approx((parts["stall_loss_s"] - waited_s).tolist())


def test_time_on_a_cpu_beyond_what_the_work_takes_is_part_of_the_loss(tmp_path: Path) -> None:
    of = factory.experiment()
    # A window of 4 s with the work of 2.5 s at the steady rate, which keeps a CPU busy for 80 % of the time.
    trial = _trial(of, "post-copy", stall_loss_s=1.5, throughput_mb_per_s=50.0, steady_mb_per_s=80.0)
    trial["trial"]["observation_s"] = 4.0
    trial["events"].append({"host": "module", "name": "OBSERVATION_END", "data": {}, "time_s": 4.0})
    trial["instruments"]["schedstat"]["values"] |= {
        "window_on_cpu_ms": 2400.0,
        "window_kernel_ms": 350.0,
        "steady_on_cpu_percent": 80.0,
        "steady_kernel_percent": 10.0,
    }
    older = _trial(of, "post-copy", 2, stall_loss_s=1.5)
    parts = _parts(tmp_path, of, trial, older).set_index("repeat")
    assert parts.loc[1, "kernel_s"] == pytest.approx(0.35 - 0.25)
    assert parts.loc[1, "slower_s"] == pytest.approx(2.4 - 2.0 - 0.1)
    assert parts.loc[1, "unexplained_s"] == pytest.approx(1.5 - 0.9 - 0.4)
    assert parts.loc[2, ["kernel_s", "slower_s"]].isna().all()
    assert parts.loc[2, "unexplained_s"] == pytest.approx(1.5 - 0.9)


def test_no_trials_give_empty_tables(tmp_path: Path) -> None:
    parts = _parts(tmp_path, factory.experiment())
    assert mean_parts(parts).empty
    assert mean_losses(parts).empty


def _frame(means: dict[str, float], spread: float = 0.01, repeats: int = 5, workloads: int = 2) -> pd.DataFrame:
    rows = [
        {
            "method": method,
            "workload": f"{number} MB",
            "pair": "",
            "valid": True,
            "downtime_ms": mean * 2**number * (1 + spread * (repeat - (repeats - 1) / 2)),
        }
        for method, mean in means.items()
        for number in range(workloads)
        for repeat in range(repeats)
    ]
    others = ("total_migration_time_s", "page_requests", "throughput_mb_per_s")
    return pd.DataFrame(rows).assign(**dict.fromkeys(others, float("nan")))


def test_effects_that_multiply_have_no_interaction() -> None:
    means = {"post-copy": 1000, "vcsp": 900, "post-copy-prefetching": 500, "vcsp-prefetching": 450}
    effects = {effect.factor: effect for effect in factorial_effects(_frame(means), factory.ROLES)}
    assert {name: effect.estimate.pct for name, effect in effects.items()} == {
        "quota": pytest.approx(10),
        "prefetching": pytest.approx(50),
        "interaction": pytest.approx(0),
    }
    assert [effect.estimate.verdict for effect in effects.values()] == [
        "improvement",
        "improvement",
        "no difference shown",
    ]
    assert {effect.n for effect in effects.values()} == {40}


def test_an_interaction_is_what_both_do_beyond_the_product() -> None:
    means = {"post-copy": 1000, "vcsp": 1000, "post-copy-prefetching": 1000, "vcsp-prefetching": 500}
    effects = {effect.factor: effect.estimate for effect in factorial_effects(_frame(means), factory.ROLES)}
    assert effects["interaction"].pct == pytest.approx(50)
    assert effects["interaction"].verdict == "improvement"
    assert effects["quota"].pct == pytest.approx(100 * (1 - 0.5**0.5))


def test_effects_need_all_four_methods_and_values_with_a_logarithm() -> None:
    means = {"post-copy": 1000.0, "vcsp": 900, "post-copy-prefetching": 500, "vcsp-prefetching": 450}
    assert factorial_effects(_frame({name: means[name] for name in ("post-copy", "vcsp")}), factory.ROLES) == ()
    assert factorial_effects(_frame({**means, "vcsp": 0}), factory.ROLES) == ()
    assert factorial_effects(_frame(means).assign(valid=False), factory.ROLES) == ()


def test_effects_of_single_trials_have_no_interval_and_of_equal_ones_no_width() -> None:
    means = {"post-copy": 1000.0, "vcsp": 900, "post-copy-prefetching": 500, "vcsp-prefetching": 450}
    assert {effect.estimate.verdict for effect in factorial_effects(_frame(means, repeats=1), factory.ROLES)} == {None}
    quota = factorial_effects(_frame(means, spread=0), factory.ROLES)[0].estimate
    assert (quota.low, quota.high) == (pytest.approx(10), pytest.approx(10))


def test_a_factor_that_does_nothing_shows_in_at_most_5_percent() -> None:
    random = np.random.default_rng(7)
    means = {"post-copy": 1000.0, "vcsp": 1000, "post-copy-prefetching": 1000, "vcsp-prefetching": 1000}
    frame = _frame(means, repeats=3)
    false = np.zeros(3)
    for _ in range(300):
        noisy = frame.assign(downtime_ms=frame["downtime_ms"] * (1 + 0.15 * random.standard_normal(len(frame))))
        false += [
            effect.estimate.verdict != "no difference shown" for effect in factorial_effects(noisy, factory.ROLES)
        ]
    assert (false / 300 <= 0.05 + 3.1 * (0.05 * 0.95 / 300) ** 0.5).all()


def test_the_tidy_table_of_an_experiment_gives_effects(tmp_path: Path) -> None:
    effects = factorial_effects(tidy(read_experiment(factory.full(tmp_path))), factory.ROLES)
    assert [(effect.metric, effect.factor) for effect in effects][:3] == [
        ("downtime", "quota"),
        ("downtime", "prefetching"),
        ("downtime", "interaction"),
    ]
    assert len(effects) == 12
