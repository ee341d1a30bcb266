# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The A/A check: how often a method would differ from itself by the very intervals that Table 3 uses.

The repeats of each workload are split at random into two halves, which are compared as two methods are. Repeats too few
to be split lend their scatter: what each value is above or below the mean of its cell, in proportion, is dealt out at
random to two sides of as many repeats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import betaincinv

from .interval import CONFIDENCE, Arm, Values, arm, ratio_interval
from .metrics import METRICS, Metric
from .table3 import values_by_workload

RESAMPLINGS = 2000
SEED = 1
# The rate is 5 % on average over experiments; a small one strays by half as much again by its own few values.
MOST_PERCENT = 1.5 * 100 * (1 - CONFIDENCE)
# Of smaller halves, and of fewer values, the rate says little.
_LEAST_TO_SPLIT = 6
_LEAST_POOL = 24
# Bounds the memory and the time of a resampling of very many trials.
_MOST_VALUES = 1_000_000


@dataclass(frozen=True)
class SelfCheck:
    """The false differences found for a metric (its name), in ``comparisons`` of a method with itself.

    ``low_percent`` is the lower end of the 95 % interval of the rate, for what chance does in so many comparisons.
    ``repeats`` is the least number on a side.
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
    """Return the check of each metric over the valid ones of ``trials`` (see `table.tidy`), all ``methods`` together.

    A metric is left out when no method has two repeats of every one of its workloads, or when there are too few values
    for the rate to say anything.
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
    for base, new in pairs:  # of a method each
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
        # Dealt without replacement: the same value twice would be a scatter of nothing.
        needed = 2 * repeats * len(means)
        if needed > len(pool):
            continue
        dealt = random.permuted(np.tile(pool, (_resamplings(len(pool)), 1)), axis=1)[:, :needed]
        sides = dealt.reshape(len(dealt), 2, len(means), repeats)
        base, new = (arm([mean * (1 + sides[:, side, number]) for number, mean in enumerate(means)]) for side in (0, 1))
        yield base, new


def _scatter(values: Values) -> Values:
    """Return how far values are from their mean, in proportion, widened by what the mean took of it."""
    scatter: Values = (values / values.mean() - 1) * np.sqrt(len(values) / (len(values) - 1))
    return scatter


def _least_rate(false: int, comparisons: int) -> float:
    """Return the lower end of the 95 % interval of a rate, by Clopper and Pearson."""
    return float(betaincinv(false, comparisons - false + 1, (1 - CONFIDENCE) / 2)) if false else 0.0


def _resamplings(values: int) -> int:
    return max(100, min(RESAMPLINGS, _MOST_VALUES // values))
