# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How far the trials can be trusted: the A/A check, and warnings about trials that scatter.

The A/A check says how often a method would differ from itself by the very intervals that Table 3 uses. The repeats of
each workload are split at random into two halves, which are compared as two methods are. Where there are too few
repeats to split, their scatter is used: the deviations of all values from the means of their cells, in proportion, are
dealt out at random to two sides with as many repeats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import betaincinv

from .interval import CONFIDENCE, Arm, Values, arm, ratio_interval
from .metrics import METRICS, Metric
from .table3 import Table3, values_by_workload

RESAMPLINGS = 2000
SEED = 1
# The rate is 5 % on average over experiments; in a small one, chance can add half as much again.
MOST_PERCENT = 1.5 * 100 * (1 - CONFIDENCE)
# With smaller halves, or fewer values, the rate says little.
_LEAST_TO_SPLIT = 6
_LEAST_POOL = 24
# Bounds the memory and the time of a resampling of very many trials.
_MOST_VALUES = 1_000_000


@dataclass(frozen=True)
class SelfCheck:
    """The false differences found for a metric (its name), in ``comparisons`` of a method with itself.

    :ivar repeats: the smallest number per side
    :ivar low_percent: lower end of the 95 % interval of the rate, which allows for chance in that many comparisons
    """

    metric: str
    how: Literal["split", "scatter"]
    repeats: int
    comparisons: int
    false_percent: float
    low_percent: float

    @property
    def passed(self) -> bool:
        """Whether the rate is at most `MOST_PERCENT`, allowing for chance."""
        return self.low_percent <= MOST_PERCENT


def self_checks(trials: pd.DataFrame, methods: Sequence[str], seed: int = SEED) -> tuple[SelfCheck, ...]:
    """Return the check of each metric over the valid ``trials`` (see `table.tidy`), all ``methods`` together.

    A metric is left out if no method has two repeats of each of its workloads, or if there are too few values for the
    rate to say anything.
    """
    valid = trials[trials["valid"]]
    return tuple(check for metric in METRICS if (check := _check(valid, methods, metric, seed)) is not None)


def _check(valid: pd.DataFrame, methods: Sequence[str], metric: Metric, seed: int) -> SelfCheck | None:
    random = np.random.default_rng(seed)
    by_method = {method: values_by_workload(valid, method, metric) for method in methods}
    usable = {
        method: groups
        for method, groups in by_method.items()
        if groups and all(len(values) > 1 and values.mean() > 0 for values in groups.values())
    }
    if not usable:
        return None
    repeats = min(len(values) for groups in usable.values() for values in groups.values())
    how: Literal["split", "scatter"] = "split" if repeats >= _LEAST_TO_SPLIT else "scatter"
    if how == "scatter" and sum(len(values) for groups in usable.values() for values in groups.values()) < _LEAST_POOL:
        return None
    pairs = _split(usable, random) if how == "split" else _dealt(usable, repeats, random)
    false = comparisons = 0
    for base, new in pairs:  # one pair per method
        low, high = ratio_interval(base, new)
        false += int(((low > 1) | (high < 1)).sum())
        comparisons += len(low)
    if not comparisons:
        return None
    low_percent = 100 * _least_rate(false, comparisons)
    return SelfCheck(
        metric.name,
        how,
        repeats // 2 if how == "split" else repeats,
        comparisons,
        100 * false / comparisons,
        low_percent,
    )


def _split(usable: Mapping[str, Mapping[str, Values]], random: np.random.Generator) -> Iterator[tuple[Arm, Arm]]:
    """Yield for each method two sides of resamplings: the halves of its repeats."""
    for groups in usable.values():
        count = _resamplings(sum(map(len, groups.values())))
        shuffled = [random.permuted(np.tile(values, (count, 1)), axis=1) for values in groups.values()]
        halves = [values.shape[1] // 2 for values in shuffled]
        base = arm([values[:, :half] for values, half in zip(shuffled, halves, strict=True)])
        yield base, arm([values[:, half : 2 * half] for values, half in zip(shuffled, halves, strict=True)])


def _dealt(
    usable: Mapping[str, Mapping[str, Values]], repeats: int, random: np.random.Generator
) -> Iterator[tuple[Arm, Arm]]:
    """Yield for each method two sides of resamplings: its means, with scatter from the pool of all methods."""
    pool = np.concatenate([_scatter(values) for groups in usable.values() for values in groups.values()])
    for groups in usable.values():
        means = [values.mean() for values in groups.values()]
        # Dealt without replacement: equal values would not scatter.
        needed = 2 * repeats * len(means)
        if needed > len(pool):
            continue
        dealt = random.permuted(np.tile(pool, (_resamplings(len(pool)), 1)), axis=1)[:, :needed]
        sides = dealt.reshape(len(dealt), 2, len(means), repeats)
        base, new = (arm([mean * (1 + sides[:, side, number]) for number, mean in enumerate(means)]) for side in (0, 1))
        yield base, new


def _scatter(values: Values) -> Values:
    """Return how far values are from their mean, in proportion, widened by what the mean took away."""
    scatter: Values = (values / values.mean() - 1) * np.sqrt(len(values) / (len(values) - 1))
    return scatter


def _least_rate(false: int, comparisons: int) -> float:
    """Return the lower end of the 95 % interval of a rate, by Clopper and Pearson."""
    return float(betaincinv(false, comparisons - false + 1, (1 - CONFIDENCE) / 2)) if false else 0.0


def _resamplings(values: int) -> int:
    return max(100, min(RESAMPLINGS, _MOST_VALUES // values))


# Of the repeats of one cell. Quiet machines stay below 15 % even in downtime, which scatters most.
MOST_CV_PERCENT = 25.0
# From this half-width on, an interval of Table 3 can decide little.
MOST_HALF_WIDTH = 15.0
MOST_INVALID_PERCENT = 10.0

_QUIET = "quiet the machine (other processes, power saving, neighbours on the same hardware) and raise repeats"


@dataclass(frozen=True)
class NoiseWarning:
    """Something that weakens what the trials can show, and what to do about it."""

    problem: str
    advice: str

    def __str__(self) -> str:
        return f"{self.problem}: {self.advice}"


def noise_warnings(trials: pd.DataFrame, table: Table3 | None, checks: Sequence[SelfCheck]) -> tuple[NoiseWarning, ...]:
    """Return the warnings about ``trials`` (see `table.tidy`), the table made of them, and their A/A ``checks``."""
    return (*_invalid(trials), *_scattered(trials), *(_wide(table) if table else ()), *_unlike_themselves(checks))


def _invalid(trials: pd.DataFrame) -> list[NoiseWarning]:
    invalid = int((~trials["valid"]).sum())
    if not invalid or 100 * invalid <= MOST_INVALID_PERCENT * len(trials):
        return []
    problem = f"{invalid} of {len(trials)} trials are invalid"
    return [NoiseWarning(problem, "remove the causes, listed with them, and run the experiment again to fill the gaps")]


def _scattered(trials: pd.DataFrame) -> list[NoiseWarning]:
    found = []
    for metric in METRICS:
        values = trials[trials["valid"]].dropna(subset=[metric.measurement])
        groups = values.groupby(["workload", "method"], sort=False)[metric.measurement]
        for cell in groups.agg(["mean", "std", "count"]).reset_index().to_dict("records"):
            # A single repeat has no deviation, which is NaN and above nothing.
            if cell["mean"] <= 0 or not 100 * cell["std"] / cell["mean"] > MOST_CV_PERCENT:
                continue
            where = f"{metric.title} of {cell['method']}, {cell['workload']}"
            problem = f"{where}, scatters by {100 * cell['std'] / cell['mean']:.0f} % over {cell['count']} repeats"
            found.append(NoiseWarning(problem, _QUIET))
    return found


def _wide(table: Table3) -> list[NoiseWarning]:
    found = []
    for metric in METRICS:
        for row in table.rows:
            cell = row.cells[metric.name]
            estimate = cell.baseline
            if estimate.low is None or estimate.high is None:
                continue
            half = (estimate.high - estimate.low) / 2
            if half > MOST_HALF_WIDTH:
                times = math.ceil((half / MOST_HALF_WIDTH) ** 2)
                problem = f"{metric.title} of {row.method} is known only to within {half:.0f} points"
                advice = f"{times} times as many repeats would bring it to {MOST_HALF_WIDTH:.0f}; or {_QUIET}"
                found.append(NoiseWarning(problem, advice))
    return found


def _unlike_themselves(checks: Sequence[SelfCheck]) -> list[NoiseWarning]:
    return [
        NoiseWarning(
            f"methods differ from themselves in {check.false_percent:.1f} % of comparisons of {check.metric}",
            f"do not trust its verdicts; {_QUIET}",
        )
        for check in checks
        if not check.passed
    ]
