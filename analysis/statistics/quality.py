# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How far the trials can be trusted: methods compared with themselves, and warnings about trials that scatter.

A repeat is a block: it holds every workload with every method once, in an order drawn at random, so that whatever
drifts meets all of them alike. Blocks that differ by more than their cells scatter show that something did drift, and
in which direction. Logarithms are compared, since a slow machine is slow in proportion. Of several pairs of hosts, each
runs repeats of its own and is compared with itself alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import fdtrc

from .interval import Arm, Values, arm, p_value
from .metrics import METRICS, TITLES, Metric
from .table3 import Table3

# Each of two tests of each of four metrics: a report without any drift warns in less than 1 % of cases.
ALPHA = 0.001
# A drift of less is no reason to run an experiment again: the order of the trials is drawn at random.
LEAST_DRIFT_PERCENT = 10.0
# A repeat this many times the others of its cell, and this many of their deviations away, is an outlier.
OUTLIER_FACTOR, OUTLIER_DEVIATIONS = 3.0, 8.0
_NORMAL_MAD = 1.4826  # standard deviations in a median absolute deviation


@dataclass(frozen=True)
class SelfCheck:
    """What a metric (its name) shows when methods are compared with themselves over ``repeats``.

    :ivar late_percent: how much larger the second half of the repeats is than the first, mean over the cells
    :ivar range_percent: how much larger the largest repeat is than the smallest, mean over the cells
    :ivar p_blocks: p-value of equal repeats, by analysis of variance; None with too few cells
    :ivar p_halves: p-value of equal halves by Table 3's own intervals, the least of all methods, corrected for their
        number; None with too few repeats
    :ivar outliers: cells with a repeat far from the others, in words
    """

    metric: str
    repeats: int
    late_percent: float
    range_percent: float
    p_blocks: float | None
    p_halves: float | None
    outliers: tuple[str, ...]

    @property
    def drifted(self) -> bool:
        """Whether the repeats differ by more than chance explains, and by enough to matter."""
        least = min((p for p in (self.p_blocks, self.p_halves) if p is not None), default=1.0)
        return least < ALPHA and self.range_percent >= LEAST_DRIFT_PERCENT

    @property
    def passed(self) -> bool:
        """Whether there is neither drift nor an outlier."""
        return not self.drifted and not self.outliers


def self_checks(trials: pd.DataFrame, methods: Sequence[str]) -> tuple[SelfCheck, ...]:
    """Return the check of each metric over the valid ``trials`` (see `table.tidy`), all ``methods`` together.

    A metric is left out if no method has two repeats of a workload.
    """
    valid = trials[trials["valid"] & trials["method"].isin(methods)]
    return tuple(check for metric in METRICS if (check := _check(valid, metric)) is not None)


def _check(valid: pd.DataFrame, metric: Metric) -> SelfCheck | None:
    measured = valid[valid[metric.measurement] > 0]
    logs = measured.assign(log=np.log(measured[metric.measurement])).pivot_table(
        index=["workload", "method", "pair"], columns="repeat", values="log", sort=False
    )
    logs = logs.loc[logs.count(axis=1) > 1].sort_index(axis=1).dropna(axis=1, how="all")
    if logs.shape[1] < 2:
        return None
    values = logs.to_numpy(dtype=np.float64)
    blocks, p_blocks = _blocks(values, logs.index.get_level_values("pair").nunique())
    half = logs.shape[1] // 2
    late = float(blocks[half:].mean() - blocks[:half].mean())
    of_method = [values[logs.index.get_level_values("method") == name] for name in set(logs.index.get_level_values(1))]
    known = [p for cells in of_method if (p := _halves(cells, half)) is not None]
    return SelfCheck(
        metric.name,
        logs.shape[1],
        100 * math.expm1(late),
        100 * math.expm1(float(np.ptp(blocks))),
        p_blocks,
        min(1.0, min(known) * len(known)) if known else None,
        tuple(_outliers(logs)),
    )


def _blocks(values: Values, pairs: int) -> tuple[Values, float | None]:
    """Return the effect of each repeat and the p-value of none; ``values`` are cells by repeats, NaN is missing.

    :param pairs: how many pairs the repeats are of, each with cells of its own
    """
    rest = values - np.nanmean(values, axis=1, keepdims=True)
    within = float(np.nansum(rest**2))
    blocks = np.zeros(values.shape[1])
    for _ in range(50 if np.isnan(values).any() else 1):  # without gaps, the first pass is exact
        step = np.nanmean(rest, axis=0)
        blocks += step
        rest = rest - step
        rest = rest - np.nanmean(rest, axis=1, keepdims=True)
    cells, repeats = values.shape
    freedom = int(np.isfinite(values).sum()) - cells - repeats + pairs
    residual = float(np.nansum(rest**2))
    # Equal values have no scatter to compare with, but that of rounding.
    if freedom < 1 or repeats == pairs or within <= 1e-18 * values.size:
        return blocks, None
    f = max(within - residual, 0.0) / (repeats - pairs) / max(residual / freedom, 1e-18)
    return blocks, float(fdtrc(repeats - pairs, freedom, f))


def _halves(cells: Values, half: int) -> float | None:
    """Return the p-value of equal halves of the repeats of one method's ``cells``; None with too few repeats."""
    sides: list[Arm] = []
    for side in (cells[:, :half], cells[:, half:]):
        groups = [np.exp(values[np.isfinite(values)]) for values in side]
        if any(len(group) < 2 for group in groups):
            return None
        sides.append(arm(groups))
    p = float(p_value(*sides))
    return None if math.isnan(p) else p


def _outliers(logs: pd.DataFrame) -> list[str]:
    away = logs.sub(logs.median(axis=1), axis=0).abs()
    usual = _NORMAL_MAD * float(np.nanmedian(away.to_numpy()))
    found = []
    for number, (_, row) in enumerate(away.iterrows()):
        workload, method, pair = away.index[number]
        factor = math.exp(min(float(row.max()), 50.0))
        if factor >= OUTLIER_FACTOR and row.max() > OUTLIER_DEVIATIONS * usual:
            cell = f"{method}, {workload}{_on(pair)}"
            found.append(f"{cell}: repeat {row.idxmax()} is {factor:.0f} times away from the others")
    return found


def _on(pair: str) -> str:
    return f", on {pair}" if pair else ""


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
    """Return the warnings about ``trials`` (see `table.tidy`), the table made of them, and their ``checks``."""
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
        groups = values.groupby(["workload", "method", "pair"], sort=False)[metric.measurement]
        for cell in groups.agg(["mean", "std", "count"]).reset_index().to_dict("records"):
            # A single repeat has no deviation, which is NaN and above nothing.
            if cell["mean"] <= 0 or not 100 * cell["std"] / cell["mean"] > MOST_CV_PERCENT:
                continue
            where = f"{metric.title} of {cell['method']}, {cell['workload']}{_on(cell['pair'])}"
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
    found = []
    for check in checks:
        title = TITLES[check.metric]
        if check.drifted:
            problem = (
                f"{title} drifted: methods differ from themselves by {check.range_percent:.0f} % from repeat to repeat,"
                f" the second half of the repeats from the first by {check.late_percent:+.0f} %"
            )
            found.append(NoiseWarning(problem, f"do not trust its size; {_QUIET}"))
        found += [
            NoiseWarning(f"{title} of {text}", "look at that trial: it decides the mean") for text in check.outliers
        ]
    return found
