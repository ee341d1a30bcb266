# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How often a night without any change is red, and how often a loss is missed: simulated, with seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from ansible_collections.vcsp.testbed.analysis.nightly import nights, verdict
from ansible_collections.vcsp.testbed.analysis.nightly.metrics import BY_NAME
from ansible_collections.vcsp.testbed.analysis.nightly.scatter import scatter, visible

WISHED = {
    "total_migration_time": 10.0, "page_requests": 10.0, "throughput": 10.0, "stall_loss": 25.0, "blackout": 50.0,
    "sent_kb": 5.0, "steady_rate": 10.0,
}  # fmt: skip
USUAL = {
    "total_migration_time": 2.0, "page_requests": 4000.0, "throughput": 60.0, "stall_loss": 3.0, "blackout": 300.0,
    "sent_kb": 95000.0, "steady_rate": 80.0,
}  # fmt: skip
NIGHTS = 7


@dataclass(frozen=True)
class World:
    """How nights come about; scatter is relative.

    :ivar alike: share of the variance between nights that meets all cells of a metric alike
    :ivar uneven: by how much the scatter of cells differs (standard deviation of its logarithm)
    """

    cells: int
    between: float
    within: float = 0.04
    repeats: int = 5
    alike: float = 0.5
    uneven: float = 0.3

    def history(self, random: np.random.Generator, count: int) -> list[nights.Night]:
        size = (self.cells, len(WISHED))
        factor = np.exp(self.uneven * random.standard_normal(size))
        return [self._night(random, number, factor) for number in range(count)]

    def _night(self, random: np.random.Generator, number: int, factor: np.ndarray) -> nights.Night:
        cells, metrics = factor.shape
        shared = np.sqrt(self.alike) * random.standard_normal(metrics)
        own = np.sqrt(1 - self.alike) * random.standard_normal((cells, metrics))
        trials = random.standard_normal((self.repeats, cells, metrics)) * self.within
        logs = factor * (self.between * (shared + own) + trials)
        values = {
            f"cell-{cell}": {
                metric: tuple(USUAL[metric] * np.exp(logs[:, cell, column])) for column, metric in enumerate(WISHED)
            }
            for cell in range(cells)
        }
        return nights.Night(f"night-{number}", f"2026-01-{number + 1:02d}", "kind", WISHED, values, {}, ())


def judged(history: Sequence[nights.Night]) -> verdict.Verdict:
    return verdict.judge(history[-1], [verdict.Baseline(night, 0) for night in history[:-1]], least_nights=NIGHTS)


def worse(night: nights.Night, cell: str, metric: str, percent: float) -> nights.Night:
    """``night``, with ``metric`` worse by ``percent`` in ``cell``."""
    factor = 1 - percent / 100 if BY_NAME[metric].higher_is_better else 1 + percent / 100
    offset = BY_NAME[metric].offset
    changed = tuple((value + offset) * factor - offset for value in night.values[cell][metric])
    values = {**night.values, cell: {**night.values[cell], metric: changed}}
    return nights.Night(night.id, night.date, night.kind, night.wished, values, {}, ())


WORLDS = [
    World(1, 0.03, uneven=0), World(1, 0.05, uneven=0), World(1, 0.05, uneven=0.5), World(3, 0.04),
    World(10, 0.03), World(10, 0.05), World(10, 0.04, alike=0), World(10, 0.04, alike=1), World(10, 0.02, uneven=0.5),
]  # fmt: skip


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_nights_without_a_change_are_hardly_ever_red(world: World) -> None:
    random = np.random.default_rng(20261126)
    outcomes = [judged(world.history(random, NIGHTS + 1)).outcome for _ in range(150)]
    # 5 % are promised; of 150 nights, 14 or more would be red in 2 % of the cases if it were just 5 %.
    assert outcomes.count("regression") <= 13
    assert outcomes.count("failed") == outcomes.count("learning") == 0
    assert outcomes.count("ok") >= 125 or world.uneven == 0.5 or world.alike == 1


@pytest.mark.parametrize("world", WORLDS[1::2], ids=str)
def test_a_loss_of_the_threshold_in_force_is_seen(world: World) -> None:
    random = np.random.default_rng(7)
    missed = missed_larger = tries = 0
    for _ in range(150):
        history = world.history(random, NIGHTS + 1)
        finding = judged(history).findings[int(random.integers(world.cells * len(WISHED)))]
        if finding.in_force > 60:  # of a fall, more than 100 % cannot be injected
            continue
        tries += 1
        for share, is_larger in ((1.0, False), (1.5, True)):
            percent = share * finding.in_force
            outcome = judged([*history[:-1], worse(history[-1], finding.cell, finding.metric, percent)]).outcome
            if outcome != "regression":
                missed, missed_larger = missed + (not is_larger), missed_larger + is_larger
    assert tries > 100
    # 10 % may be missed, and 5 % of those half as large again; the margins are those of chance.
    assert missed / tries <= 0.10 + 2.3 * (0.09 / tries) ** 0.5
    assert missed_larger / tries <= 0.05


@pytest.mark.parametrize(("between", "low", "high"), [(0.03, 15, 27), (0.05, 25, 45)])
def test_ten_percent_are_no_threshold_where_nights_scatter(between: float, low: float, high: float) -> None:
    """The threshold in force is what nights can see, and more repeats do not change that."""
    random = np.random.default_rng(3)
    for repeats in (5, 100):
        world = World(1, between, within=0.01, repeats=repeats, uneven=0)
        in_force = [
            finding.in_force
            for _ in range(40)
            for finding in judged(world.history(random, NIGHTS + 1)).findings
            if finding.metric == "total_migration_time"
        ]
        assert low < float(np.median(in_force)) < high


def test_quiet_nights_see_what_is_wished_for() -> None:
    world = World(2, 0.002, within=0.004, uneven=0)
    history = world.history(np.random.default_rng(5), NIGHTS + 1)
    found = judged(history)
    assert found.outcome == "ok"
    assert {finding.metric: finding.in_force for finding in found.findings} == pytest.approx(WISHED)
    assert judged([*history[:-1], worse(history[-1], "cell-1", "sent_kb", 2)]).outcome == "ok"
    assert judged([*history[:-1], worse(history[-1], "cell-1", "sent_kb", 6)]).outcome == "regression"


def test_cells_that_scatter_alike_lend_each_other_degrees_of_freedom() -> None:
    """Unless they do so because the night meets all of them alike, which shows its scatter only once."""
    random = np.random.default_rng(11)
    freedom = {}
    for alike in (0.0, 1.0):
        history = World(8, 0.04, within=0.001, alike=alike, uneven=0).history(random, NIGHTS)
        keys = [(f"cell-{cell}", "sent_kb") for cell in range(8)]
        found = scatter(verdict.samples(history, keys), [0] * NIGHTS, ["sent_kb"] * 8)
        freedom[alike] = found.freedom[0]
        assert (visible(found.error(), found.freedom, 8) > 0).all()
    assert freedom[0.0] > 10
    assert freedom[1.0] == pytest.approx(NIGHTS - 1, abs=0.5)
