# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Intervals of means, and of ratios of two means over workloads: Fieller's theorem, Welch's degrees of freedom.

An arm is one method's side of a comparison: the repeats are averaged within each workload, then the workloads are
averaged with equal weight. Variances are estimated within each workload and may differ between workloads and methods,
as they do in practice: long migrations scatter more. The number of repeats is small, so the quantile is Student's,
with the degrees of freedom of Welch and Satterthwaite.

The percentile bootstrap, which may come to mind first, resamples three values as if they were the population: its
intervals are too narrow, and a method differs from itself in far more than 5 % of comparisons (docs/statistics.md).

Repeats of two arms may also be paired, because each was run on both sides, one right after the other. Then only what
is left of a repeat counts as scatter, once the ratio times the base's is taken off: what drifts between repeats meets
both sides in proportion, and does not widen the interval (the ratio estimate of survey sampling).

Sources: E. C. Fieller, "Some problems in interval estimation", J. R. Stat. Soc. B 16 (1954) 175-185;
F. E. Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics 2 (1946) 110-114;
W. G. Cochran, "Sampling techniques", 3rd ed. (Wiley, 1977), chapter 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """A mean over workloads in the unit of the measurement, its variance, and what gives the degrees of freedom.

    All three have the same shape; variance and spread are NaN where some workload has a single repeat.

    :ivar spread: the sum over workloads of (share of the variance)^2 / (repeats - 1), so that ``variance**2 / spread``
        is Satterthwaite's degrees of freedom
    :ivar rest: of one whose repeats are paired with those of its base: what is left of them; None if independent
    """

    mean: Values
    variance: Values
    spread: Values
    rest: Arm | None = None

    @property
    def freedom(self) -> Values:
        """Satterthwaite's degrees of freedom; infinite where all repeats are equal, which need none."""
        with np.errstate(all="ignore"):
            return np.where(self.spread > 0, self.variance**2 / self.spread, np.inf)


def arm(groups: Sequence[Values], weights: Sequence[float] | None = None) -> Arm:
    """Return the arm of ``groups``, one array per workload with the repeats as its last axis; other axes are kept.

    :param weights: of the groups in the mean, in any unit; equal by default
    """
    shares = np.ones(len(groups)) if weights is None else np.array(weights)
    means, variances, spreads = [], [], []
    for values, share in zip(groups, shares, strict=True):
        repeats = values.shape[-1]
        means.append(values.mean(axis=-1))
        if repeats < 2:
            variances.append(np.full(values.shape[:-1], np.nan))
        else:
            variances.append(values.var(axis=-1, ddof=1) / repeats * share**2 / shares.sum() ** 2)
        spreads.append(variances[-1] ** 2 / max(repeats - 1, 1))
    return Arm(np.average(means, axis=0, weights=shares), np.sum(variances, axis=0), np.sum(spreads, axis=0))


def paired_arm(base: Sequence[Values], new: Sequence[Values], weights: Sequence[float] | None = None) -> Arm:
    """Return the arm of ``new``, each repeat of which is paired with that at the same place of ``base``.

    The parameters are those of `arm`.
    """
    before, after = arm(base, weights), arm(new, weights)
    with np.errstate(all="ignore"):
        ratio = (after.mean / before.mean)[..., np.newaxis]
        rest = [own - ratio * other for other, own in zip(base, new, strict=True)]
    return replace(after, rest=arm(rest, weights))


def t_quantile(freedom: Values | float, confidence: float = CONFIDENCE) -> Values:
    """Return how many standard errors an interval reaches to either side, by Student's t."""
    # scipy.special, not scipy.stats, which takes a second to import.
    quantile: Values = stdtrit(freedom, 0.5 + confidence / 2)
    return quantile


def half_width(side: Arm, confidence: float = CONFIDENCE) -> Values:
    """Return how far Student's interval of an arm's mean reaches to either side; NaN where a variance is unknown."""
    width: Values = t_quantile(side.freedom, confidence) * np.sqrt(side.variance)
    return width


def ratio_interval(base: Arm, new: Arm, confidence: float = CONFIDENCE) -> tuple[Values, Values]:
    """Return the ends of the interval of ``new`` / ``base``; NaN where there is none.

    There is none if a variance is unknown, or if the base's mean cannot be distinguished from zero: any ratio, however
    large, would then fit the data. Measurements cannot be negative, so the interval does not go below 0.
    """
    with np.errstate(all="ignore"):
        ratio = new.mean / base.mean
        if new.rest is not None:
            half = np.where(base.mean > 0, half_width(new.rest, confidence) / base.mean, np.nan)
            return np.maximum(ratio - half, 0), ratio + half
        quantile = t_quantile(_freedom(base, new, ratio), confidence)
        # Repeats that are all equal have no degrees of freedom and need no quantile.
        squared = np.where(base.variance + new.variance == 0, 0.0, quantile**2)
        # The ratios r with (new - r base)^2 <= quantile^2 (var new + r^2 var base) lie between the roots of a parabola.
        square = base.mean**2 - squared * base.variance
        linear = base.mean * new.mean
        constant = new.mean**2 - squared * new.variance
        root = np.sqrt(np.maximum(linear**2 - square * constant, 0))
        is_bounded = (square > 0) & (base.mean > 0)
        low, high = (np.where(is_bounded, (linear + sign * root) / square, np.nan) for sign in (-1, 1))
    return np.maximum(low, 0), high


def p_value(base: Arm, new: Arm) -> Values:
    """Return the two-sided p-value of equal means; NaN where a variance is unknown.

    It is below 1 - confidence exactly where the interval of `ratio_interval` is bounded and excludes 1.
    """
    with np.errstate(all="ignore"):
        difference = new.mean - base.mean
        if new.rest is not None:
            variance, freedom = new.rest.variance, new.rest.freedom
        else:
            variance, freedom = new.variance + base.variance, _freedom(base, new, new.mean / base.mean)
        score = np.abs(difference) / np.sqrt(variance)
        values: Values = np.where(variance == 0, np.where(difference == 0, 1.0, 0.0), 2 * stdtr(freedom, -score))
    return values


def _freedom(base: Arm, new: Arm, ratio: Values) -> Values:
    """Return Satterthwaite's degrees of freedom of ``new`` - ``ratio`` * ``base``."""
    return (new.variance + ratio**2 * base.variance) ** 2 / (new.spread + ratio**4 * base.spread)


@dataclass(frozen=True)
class Mean:
    """A mean and its 95 % interval in the unit of the measurement; None is missing."""

    mean: float
    low: float | None
    high: float | None


def mean_of(side: Arm) -> Mean:
    """Return the mean of an arm with Student's interval; measurements cannot be negative."""
    if not np.isfinite(side.variance):
        return Mean(float(side.mean), None, None)
    half = float(half_width(side))
    return Mean(float(side.mean), max(float(side.mean) - half, 0.0), float(side.mean) + half)


Verdict = Literal["improvement", "no difference shown", "worse"]


@dataclass(frozen=True)
class Estimate:
    """An improvement in percent, positive is better, and its 95 % interval; None is missing."""

    pct: float | None
    low: float | None
    high: float | None

    @property
    def verdict(self) -> Verdict | None:
        """On which side of 0 the interval is; None without an interval, since a single trial shows no spread."""
        if self.low is None or self.high is None:
            return None
        if self.low > 0:
            return "improvement"
        return "worse" if self.high < 0 else "no difference shown"


MISSING = Estimate(None, None, None)


def means(trials: pd.DataFrame, by: list[str], measurement: str) -> pd.DataFrame:
    """Average ``measurement`` over the valid ``trials`` within each group of the columns ``by``.

    Pairs of hosts have equal weight, and the trials of each scatter around its own mean.

    :returns: one row per group with values, in order of appearance: ``by``, ``mean``, ``low``, ``high`` (Student's t
        interval, in the unit of the measurement; NaN where a pair has a single trial) and ``n``
    """
    values = trials[trials["valid"]].dropna(subset=[measurement])
    pairs = values.groupby([*by, "pair"], sort=False, dropna=False)[measurement]
    frame = pairs.agg(["mean", "var", "count"]).reset_index()
    frame["variance"] = frame["var"] / frame["count"]
    frame["spread"] = frame["variance"] ** 2 / (frame["count"] - 1)
    groups = frame.groupby(by, sort=False, dropna=False)
    found = groups.agg(mean=("mean", "mean"), pairs=("mean", "size"), n=("count", "sum")).reset_index()
    variance, spread = (groups[part].agg(_sum).to_numpy(dtype="float64") for part in ("variance", "spread"))
    # Trials that are all equal have no degrees of freedom and need no quantile.
    freedom = np.divide(variance**2, spread, out=np.full_like(variance, np.inf), where=spread > 0)
    half = t_quantile(freedom) * np.sqrt(variance) / found.pop("pairs")
    found["low"], found["high"] = found["mean"] - half, found["mean"] + half
    return found


def _sum(values: pd.Series[float]) -> float:
    """Return the sum, which is not known if one of the values is not."""
    return float(values.sum(skipna=False))
