# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the quota does, what prefetching does, and what they do together: the paper's methods as a 2 x 2 design.

Effects multiply: a main effect is the geometric mean of the ratio with and without the factor, over both levels of the
other; the interaction is what both do together beyond the product of what each does alone. The ratios are of means over
the workloads that all four methods have, and the intervals are Student's on the logarithm of the means (delta method).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from .interval import Arm, Estimate, t_quantile
from .metrics import METRICS, Metric
from .strata import arm_over, values_by_stratum

Factor = Literal["quota", "prefetching", "interaction"]

# The weight of each of the paper's method's logarithm in an effect.
CONTRASTS: Mapping[Factor, Mapping[str, float]] = {
    "quota": {"post-copy": -0.5, "vcsp": 0.5, "post-copy-prefetching": -0.5, "vcsp-prefetching": 0.5},
    "prefetching": {"post-copy": -0.5, "vcsp": -0.5, "post-copy-prefetching": 0.5, "vcsp-prefetching": 0.5},
    "interaction": {"post-copy": 1, "vcsp": -1, "post-copy-prefetching": -1, "vcsp-prefetching": 1},
}
METHODS = tuple(CONTRASTS["quota"])


@dataclass(frozen=True)
class Effect:
    """An effect on a metric (its name) in percent, positive is better; ``n`` counts the trials of all four methods."""

    metric: str
    factor: Factor
    estimate: Estimate
    n: int


def factorial_effects(trials: pd.DataFrame, roles: Mapping[str, str]) -> tuple[Effect, ...]:
    """Return the effects in the valid ``trials`` (see `table.tidy`), by metric and factor.

    A metric is left out unless all four methods measured it in some common workload, so there is none for an experiment
    without methods of their settings (``roles`` is what `roles.roles` returns). There is no interval where some
    workload has a single trial.
    """
    valid = trials[trials["valid"]]
    return tuple(effect for metric in METRICS for effect in _effects(valid, metric, roles))


def _effects(valid: pd.DataFrame, metric: Metric, roles: Mapping[str, str]) -> list[Effect]:
    values = {method: values_by_stratum(valid, roles.get(method, ""), metric) for method in METHODS}
    shared = [name for name in values[METHODS[0]] if all(name in values[method] for method in METHODS)]
    if not shared:
        return []
    n = sum(len(values[method][name]) for method in METHODS for name in shared)
    arms = {method: arm_over(values[method], shared) for method in METHODS}
    if any(each.mean <= 0 for each in arms.values()):  # without a logarithm
        return []
    return [Effect(metric.name, factor, _estimate(weights, arms, metric), n) for factor, weights in CONTRASTS.items()]


def _estimate(weights: Mapping[str, float], arms: Mapping[str, Arm], metric: Metric) -> Estimate:
    def percent(logarithm: float) -> float:
        return 100 * (math.exp(logarithm) - 1) * (1 if metric.higher_is_better else -1)

    logarithm = sum(weight * math.log(arms[method].mean) for method, weight in weights.items())
    scales = {method: (weight / float(arms[method].mean)) ** 2 for method, weight in weights.items()}
    variance = sum(scale * float(arms[method].variance) for method, scale in scales.items())
    if not np.isfinite(variance):
        return Estimate(percent(logarithm), None, None)
    spread = sum(scale**2 * float(arms[method].spread) for method, scale in scales.items())
    quantile = float(t_quantile(variance**2 / spread)) if spread > 0 else 0.0
    ends = [percent(logarithm + sign * quantile * math.sqrt(variance)) for sign in (-1, 1)]
    return Estimate(percent(logarithm), min(ends), max(ends))
