# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How much nights scatter, and what that lets a night see.

A night's value of a comparison (a metric in a cell) is the mean of its trials on the scale of `metrics`. It differs
from the nights before for two reasons: trials scatter within a night, which repeats average out, and nights scatter as
wholes (other boots, other neighbours), which they do not. What a night is held against is therefore the scatter of the
*means of nights*, about the level that was in force; it contains both.

Seven nights give a variance six degrees of freedom at best, and with dozens of comparisons its quantile of Student's t
would be enormous. The cells of a metric scatter similarly, though, so each variance is moderated towards that of the
others: by as many degrees of freedom as the variances' own spread allows (empirical Bayes, G. K. Smyth, "Linear models
and empirical Bayes methods for assessing differential expression in microarray experiments", Stat. Appl. Genet. Mol.
Biol. 3 (2004) 3), but never by more than the cells have together, because what a night does to all of its cells alike
counts once (Satterthwaite's degrees of freedom of a mean of correlated variances).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import polygamma, psi, stdtrit

from ..statistics.interval import Values

# How often, over all comparisons of a night, one without any change may be red: at most 5 %. Less is aimed at, because
# degrees of freedom are estimates, too; simulated, and with what it gives, in test_nightly_power.py.
ALPHA = 0.03
# How often a loss of the threshold in force is seen: at least 90 %, and for the same reason more is aimed at.
POWER = 0.92
# Nights that happen to agree better than this do not show that others will: clocks and counters have steps.
_LEAST_SCATTER = 0.003

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """What nights measured, each array of the shape (nights, comparisons).

    :ivar means: means of the trials on the scale of comparison
    :ivar variances: variances between the trials of a night; NaN where there is a single one
    :ivar counts: trials
    """

    means: Values
    variances: Values
    counts: Numbers


@dataclass(frozen=True)
class Scatter:
    """What a comparison is held against; each array has one entry per comparison.

    :ivar expected: mean of the nights at the level in force
    :ivar variance: of a night's mean about its level, moderated
    :ivar freedom: degrees of freedom of ``variance``
    :ivar nights: how many nights ``expected`` rests on
    :ivar within: variance between the trials of a night; NaN if no night has two
    :ivar within_freedom: its degrees of freedom
    :ivar repeats: trials of a night, on average (harmonic)
    """

    expected: Values
    variance: Values
    freedom: Values
    nights: int
    within: Values
    within_freedom: Values
    repeats: Values

    @property
    def between(self) -> Values:
        """Variance between nights that no number of repeats removes."""
        rest: Values = np.maximum(self.variance - np.nan_to_num(self.within) / self.repeats, 0)
        return rest

    def error(self, variance: Values | None = None) -> Values:
        """Return the standard error of a new night's difference from what is expected."""
        new = self.variance if variance is None else variance
        found: Values = np.sqrt(new + self.variance / self.nights)
        return found


def scatter(samples: Samples, levels: Sequence[int], metrics: Sequence[str]) -> Scatter:
    """Return how ``samples`` scatter about their levels.

    :param levels: of each night; nights of one level are thought to have one true value, and the last one is in force
    :param metrics: of each comparison; those of one metric moderate each other
    :raises ValueError: there are no more nights than levels, so that nothing shows their scatter
    """
    level_of = np.asarray(levels)
    expected_of = np.empty_like(samples.means)
    for level in np.unique(level_of):
        expected_of[level_of == level] = samples.means[level_of == level].mean(axis=0)
    freedom = len(level_of) - len(np.unique(level_of))
    if freedom < 1:
        raise ValueError(f"{len(level_of)} nights at as many levels show no scatter")
    residuals = samples.means - expected_of
    variance = np.maximum((residuals**2).sum(axis=0) / freedom, _LEAST_SCATTER**2)
    total_freedom = np.full(variance.shape, float(freedom))
    names = np.asarray(metrics)
    for metric in dict.fromkeys(metrics):
        chosen = names == metric
        variance[chosen], total_freedom[chosen] = _moderated(variance[chosen], residuals[:, chosen], freedom)
    trial_freedom = np.maximum(samples.counts - 1, 0)
    within_freedom = trial_freedom.sum(axis=0).astype(np.float64)
    with np.errstate(invalid="ignore"):
        within = np.nansum(samples.variances * trial_freedom, axis=0) / within_freedom
    return Scatter(
        expected_of[-1],
        variance,
        total_freedom,
        int((level_of == level_of[-1]).sum()),
        within,
        within_freedom,
        len(level_of) / (1 / samples.counts).sum(axis=0),
    )


def _moderated(variance: Values, residuals: Values, freedom: int) -> tuple[Values, Values]:
    """Return the variances of one metric's cells, each drawn towards the others, and their degrees of freedom."""
    cells = len(variance)
    unchanged = variance, np.full(cells, float(freedom))
    if cells < 3:  # two do not show how much cells differ
        return unchanged
    most = _effective_freedom(residuals, freedom) - freedom
    logs = np.log(variance) - psi(freedom / 2) + math.log(freedom / 2)
    # How much the cells differ is not well known either: believe that it is one standard error more.
    spread = logs.var(ddof=1) * (1 + math.sqrt(2 / (cells - 1)))
    excess = float(spread - polygamma(1, freedom / 2))
    prior_freedom = min(2 * _inverse_trigamma(excess) if excess > 0 else math.inf, most)
    if prior_freedom <= 0:
        return unchanged
    prior = float(np.exp(logs.mean() + psi(prior_freedom / 2) - math.log(prior_freedom / 2)))
    together = freedom + prior_freedom
    return (freedom * variance + prior_freedom * prior) / together, np.full(cells, together)


def _effective_freedom(residuals: Values, freedom: int) -> float:
    """Return the degrees of freedom that the cells' variances have together, by how their residuals correlate."""
    lengths = np.sqrt((residuals**2).sum(axis=0))
    unit = np.divide(residuals, lengths, out=np.zeros_like(residuals), where=lengths > 0)
    correlation = unit.T @ unit
    np.fill_diagonal(correlation, 1.0)
    cells = len(correlation)
    return float(freedom * cells**2 / (correlation**2).sum())


def _inverse_trigamma(value: float) -> float:
    """Return where the trigamma function is ``value`` (Newton's method, as by Smyth; converges from below)."""
    found = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, found))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, found))
        found += step
        if -step < 1e-8 * found:
            break
    return found


def critical(freedom: Values, comparisons: int) -> Values:
    """Return how many standard errors a loss must reach to be none by chance, over all ``comparisons`` (Bonferroni)."""
    quantile: Values = stdtrit(freedom, 1 - ALPHA / comparisons)
    return quantile


def margin(freedom: Values) -> Values:
    """Return by how many standard errors a loss must exceed a line to be seen beyond it with `POWER`."""
    quantile: Values = stdtrit(freedom, POWER)
    return quantile


def visible(error: Values, freedom: Values, comparisons: int) -> Values:
    """Return the least loss, on the scale of comparison, that is seen with `POWER`."""
    loss: Values = (critical(freedom, comparisons) + margin(freedom)) * error
    return loss


def red_line(in_force: Values, error: Values, freedom: Values, comparisons: int) -> Values:
    """Return from which observed loss on a night is red.

    It is what leaves a true loss of the threshold its power, but no less than what chance alone would exceed.
    """
    line: Values = np.maximum(in_force - margin(freedom) * error, critical(freedom, comparisons) * error)
    return line
