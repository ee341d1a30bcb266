# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which method is best in each metric, and which others it is ahead of.

The best is picked after the fact, so it is compared with each other method as if all pairs had been (Bonferroni):
whichever is picked, what is said of a metric is wrong in at most 5 % of experiments. Where there are several workloads,
half of that is for the means over all of them, and half for what is said of single ones, which share it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from .interval import CONFIDENCE, Mean, Values, mean_of, p_value
from .metrics import METRICS, Metric
from .strata import Stratum, arm_over, values_by_stratum, workloads_of


@dataclass(frozen=True)
class Leader:
    """The method whose mean of a metric over all workloads is best.

    :ivar mean: that mean, with its own 95 % interval
    :ivar behind: methods whose mean is shown to be worse
    :ivar tied: methods whose mean is not shown to be worse
    :ivar unknown: methods that cannot be compared: of some workload they, or ``method``, have a single valid trial or
        none
    :ivar elsewhere: workload -> the method that is best in it alone, where ``method`` is shown to be worse
    """

    metric: Metric
    method: str
    mean: Mean
    behind: tuple[str, ...]
    tied: tuple[str, ...]
    unknown: tuple[str, ...]
    elsewhere: Mapping[str, str]


def leaders(trials: pd.DataFrame, methods: Sequence[str]) -> tuple[Leader, ...]:
    """Return the best of ``methods`` for each metric that two of them have valid ``trials`` of (see `table.tidy`)."""
    valid = trials[trials["valid"]]
    return tuple(leader for metric in METRICS if (leader := _leader(valid, methods, metric)) is not None)


def _leader(valid: pd.DataFrame, methods: Sequence[str], metric: Metric) -> Leader | None:
    measured = {method: values_by_stratum(valid, method, metric) for method in methods}
    strata = list(dict.fromkeys(stratum for values in measured.values() for stratum in values))
    whole = {method: values for method, values in measured.items() if len(values) == len(strata)}
    if not strata or len(whole) < 2:
        return None
    workloads = workloads_of(strata)
    several = len(workloads) > 1
    level = (1 - CONFIDENCE) / math.comb(len(whole), 2) / (2 if several else 1)
    method, p_values = _compared(whole, strata, metric)
    elsewhere = {}
    for workload in workloads if several else ():
        there, p_there = _compared(whole, [each for each in strata if each.workload == workload], metric)
        if p_there.get(method, 1.0) < level / len(workloads):
            elsewhere[workload] = there
    return Leader(
        metric,
        method,
        mean_of(arm_over(whole[method], strata)),
        tuple(name for name, p in p_values.items() if p < level),
        tuple(name for name, p in p_values.items() if p >= level),
        # A p-value is no number where a variance is not known.
        tuple(name for name in methods if name != method and math.isnan(p_values.get(name, math.nan))),
        elsewhere,
    )


def _compared(
    of_method: Mapping[str, Mapping[Stratum, Values]], strata: Sequence[Stratum], metric: Metric
) -> tuple[str, dict[str, float]]:
    """Return the method with the best mean over ``strata``, and the p-value of each other's mean being equal to it."""
    arms = {method: arm_over(values, strata) for method, values in of_method.items()}
    choose = max if metric.higher_is_better else min
    best = choose(arms, key=lambda method: float(arms[method].mean))
    return best, {method: float(p_value(arms[best], side)) for method, side in arms.items() if method != best}
