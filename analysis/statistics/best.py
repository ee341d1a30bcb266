# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which method is best in each metric, and which cannot be told apart from it.

The best is picked after the fact, so it is compared with each other method as if all pairs had been (Bonferroni): of
twenty experiments with methods that do not differ, in at most one is any said to be worse than the best of a metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import pandas as pd

from .interval import CONFIDENCE, Mean, arm, mean_of, p_value
from .metrics import METRICS, Metric
from .table3 import values_by_workload


@dataclass(frozen=True)
class Leader:
    """The method with the best mean of a metric, over the workloads in which all methods have valid trials.

    :ivar tied: the methods that are not told apart from it
    :ivar behind: those that are
    """

    metric: Metric
    method: str
    mean: Mean
    tied: tuple[str, ...]
    behind: tuple[str, ...]


def leaders(trials: pd.DataFrame, methods: Sequence[str]) -> tuple[Leader, ...]:
    """Return the leader in each metric that at least two of the ``methods`` have; ``trials`` as in `table.tidy`."""
    found = (_leader(trials[trials["valid"]], methods, metric) for metric in METRICS)
    return tuple(leader for leader in found if leader is not None)


def _leader(trials: pd.DataFrame, methods: Sequence[str], metric: Metric) -> Leader | None:
    values = {method: values_by_workload(trials, method, metric) for method in methods}
    values = {method: by_workload for method, by_workload in values.items() if by_workload}
    if len(values) < 2:
        return None
    shared = [name for name in next(iter(values.values())) if all(name in each for each in values.values())]
    if not shared:
        return None
    arms = {method: arm([by_workload[name] for name in shared]) for method, by_workload in values.items()}
    sign = -1 if metric.higher_is_better else 1
    best = min(arms, key=lambda method: sign * float(arms[method].mean))
    alpha = (1 - CONFIDENCE) / comb(len(arms), 2)
    # Without a spread there is no p-value (NaN), and nothing is told apart.
    behind = tuple(method for method in arms if method != best and float(p_value(arms[best], arms[method])) < alpha)
    tied = tuple(method for method in arms if method != best and method not in behind)
    return Leader(metric, best, mean_of(arms[best]), tied, behind)
