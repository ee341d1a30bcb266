# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What verdicts on real nights are worth: of the committed nights (long), and the program on made-up ones."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ansible_collections.vcsp.testbed.analysis.nightly.metrics import METRICS

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks import nights, power  # noqa: E402
from benchmarks.__main__ import NIGHTS  # noqa: E402
from benchmarks.lab import BenchmarkError  # noqa: E402

WISHED = {"total_migration_time": 10.0, "page_requests": 10.0, "throughput": 10.0}
SEED = 1


def write(directory: Path, unchanged: int, slower: float = 2.0, scatter: float = 0.02) -> Path:
    """Write made-up nights: ``unchanged`` ones, and one of each injection, whose values are ``slower`` times worse."""
    random = np.random.default_rng(1)
    lines, rows = [], []
    for number, what in enumerate([nights.UNCHANGED] * unchanged + list(nights.INJECTIONS)):
        line = nights.Line(
            f"n{number}", what, 300, "hit", "ok", f"2026-01-{number + 1:02d}", "k", WISHED, {"a": "b"}, ()
        )
        lines.append(json.dumps(asdict(line)) + "\n")
        for cell in ("0008mb-random-vcsp", "0008mb-random-stock"):
            level = scatter * random.standard_normal(len(METRICS))
            for trial in range(1, 5):
                factor = np.exp(level + scatter * random.standard_normal(len(METRICS)))
                worse = 1.0 if what == nights.UNCHANGED else slower
                values = {
                    each.name: 5000 * factor[column] * (1 / worse if each.higher_is_better else worse)
                    for column, each in enumerate(METRICS)
                }
                rows.append({"night": line.night, "injected": what, "cell": cell, "trial": trial, **values})
    directory.mkdir(exist_ok=True)
    (directory / nights.NIGHTS_FILE).write_text("".join(lines))
    pd.DataFrame(rows).to_csv(directory / nights.TRIALS_FILE, index=False)
    return directory


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in {"UNCHANGED": 60, "INJECTED": 20}.items():
        monkeypatch.setattr(power, f"RESAMPLED_{name}", count)
    monkeypatch.setattr(power, "MORE_SLOW_DOWNS", 40)


@pytest.mark.usefixtures("few")
def test_worse_nights_are_red_and_unchanged_ones_are_not(tmp_path: Path) -> None:
    found = power.prove(write(tmp_path, 8), SEED)
    assert found.unchanged.percent <= 10
    assert set(found.injected) == set(nights.INJECTIONS)
    assert all(share.count == share.of == 20 for share in found.injected.values())
    assert found.missed[1.0].of == found.missed[1.5].of == 40
    assert found.missed[1.5].count <= found.missed[1.0].count < 15
    assert found == power.prove(tmp_path, SEED)  # from the same seed
    page = power.markdown(found)
    assert "| n8 | link | regression |" in page
    assert f"| red with `quota` | {found.injected['quota']} | at least 90 % | yes |" in page


@pytest.mark.usefixtures("few")
def test_injections_that_do_nothing_are_not_found(tmp_path: Path) -> None:
    found = power.prove(write(tmp_path, 8, slower=1.0), SEED)
    assert all(share.percent < 50 for share in found.injected.values())
    assert "| at least 90 % | no |" in power.markdown(found)


def test_too_few_nights_prove_nothing(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="needs 8 unchanged nights"):
        power.prove(write(tmp_path, 7), SEED)


def test_a_resampled_night_has_trials_of_the_real_one(tmp_path: Path) -> None:
    [(_what, night), *_] = nights.read_tables(write(tmp_path, 1))
    again = power.resampled(night, np.random.default_rng(1))
    for cell, metrics in night.values.items():
        trials = list(zip(*metrics.values(), strict=True))
        drawn = list(zip(*again.values[cell].values(), strict=True))
        assert len(drawn) == len(trials)
        assert set(drawn) < set(trials)  # whole trials; this seed draws one of them twice


@pytest.mark.long
@pytest.mark.skipif(not (NIGHTS / nights.NIGHTS_FILE).exists(), reason="no real night has been committed")
def test_verdicts_on_the_committed_nights() -> None:
    found = power.prove(NIGHTS, SEED)
    for line in found.lines:
        assert power.is_red(found.judged[line.night].outcome) == (line.injected != nights.UNCHANGED), line.night
        assert line.seconds <= 6 * 60
    assert found.unchanged.of >= 200
    assert found.unchanged.percent <= 5
    assert set(found.injected) == set(nights.INJECTIONS)
    assert all(share.percent >= 90 for share in found.injected.values())
    assert found.missed[1.0].percent <= 10
    assert found.missed[1.5].percent <= 5
    assert power.markdown(found) == (NIGHTS / "README.md").read_text()
