# SPDX-License-Identifier: GPL-3.0-or-later
"""Table 3: what each method improves over the baseline method, as ratios of means with bootstrap intervals.

A cell compares two means over all workloads: the repeats are averaged within each workload, then the workloads are
averaged with equal weight. Only workloads in which both methods have valid trials count, so that both means are over
the same work. This is the aggregation that gives the paper's figures from its authors' raw data; averaging the
percentages of single workloads does not (total migration time of vcsp-prefetching: 29.3 instead of 30.5).

Improvement is positive in both conventions: ``baseline`` divides the difference by the baseline's mean, ``paper`` by
the larger of the two means.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from .errors import NoTableError
from .metrics import METRICS, Metric

BASELINE = "post-copy"
DRAWS = 10_000
SEED = 1
INTERVAL_PERCENTILES = (2.5, 97.5)

Convention = Literal["baseline", "paper"]
_Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """An improvement in percent and its 95 % interval; None is missing."""

    pct: float | None
    low: float | None
    high: float | None


MISSING = Estimate(None, None, None)


@dataclass(frozen=True)
class Cell:
    """One metric of one method against the baseline.

    ``n`` and ``n_baseline`` count the trials that entered on either side, ``workloads`` the workloads they cover.
    """

    baseline: Estimate
    paper: Estimate
    n: int
    n_baseline: int
    workloads: tuple[str, ...]

    def estimate(self, convention: Convention) -> Estimate:
        """Return the cell's value in ``convention``."""
        return self.baseline if convention == "baseline" else self.paper


@dataclass(frozen=True)
class Row:
    """A method; ``cells`` maps the name of every metric to its cell."""

    method: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Table3:
    """The table: a row a method, the baseline itself left out."""

    rows: tuple[Row, ...]


def build_table3(trials: pd.DataFrame, methods: Sequence[str], seed: int = SEED) -> Table3:
    """Compare ``methods`` with `BASELINE` over the valid ones of ``trials`` (see `table.tidy`).

    The intervals resample the repeats within each workload and method, independently, `DRAWS` times; ``seed`` makes
    them repeatable. There is none where some workload has a single trial: resampling one value shows no spread.

    Raises:
        NoTableError: nothing valid to compare; the message says what is missing.
    """
    valid = trials[trials["valid"]]
    if valid.empty:
        raise NoTableError(f"no Table 3: none of the {len(trials)} trials that were read is valid")
    if BASELINE not in set(valid["method"]):
        raise NoTableError(f"no Table 3: it compares with {BASELINE}, and no trial of {BASELINE} is valid")
    others = [method for method in methods if method != BASELINE]
    if not others:
        raise NoTableError(f"no Table 3: there is no method to compare with {BASELINE}")
    rows = tuple(
        Row(method, {metric.name: _cell(valid, method, metric, seed) for metric in METRICS}) for method in others
    )
    if all(cell.paper.pct is None for row in rows for cell in row.cells.values()):
        raise NoTableError(f"no Table 3: no workload has a valid measurement of both {BASELINE} and another method")
    return Table3(rows)


def table3_csv(table: Table3, convention: Convention) -> str:
    """Return the table as CSV: ``method``, then ``<metric>_pct,_low,_high,_n`` for each metric; missing is empty."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(
        ["method", *(f"{metric.name}_{part}" for metric in METRICS for part in ("pct", "low", "high", "n"))]
    )
    for row in table.rows:
        fields = [row.method]
        for metric in METRICS:
            cell = row.cells[metric.name]
            estimate = cell.estimate(convention)
            fields += ["" if x is None else f"{x:.4f}" for x in (estimate.pct, estimate.low, estimate.high)]
            fields.append(str(cell.n))
        writer.writerow(fields)
    return output.getvalue()


def _cell(valid: pd.DataFrame, method: str, metric: Metric, seed: int) -> Cell:
    base = _values_by_workload(valid, BASELINE, metric)
    new = _values_by_workload(valid, method, metric)
    shared = tuple(workload for workload in base if workload in new)
    base_groups, new_groups = [base[workload] for workload in shared], [new[workload] for workload in shared]
    n, n_baseline = sum(map(len, new_groups)), sum(map(len, base_groups))
    if not shared:
        return Cell(MISSING, MISSING, n, n_baseline, shared)
    means = _mean_of_means(base_groups), _mean_of_means(new_groups)
    draws = None
    if min(map(len, base_groups + new_groups)) > 1:
        # Seeded by cell, so that another method or metric in the table does not move this one's interval.
        random = np.random.default_rng([seed, zlib.crc32(f"{method}/{metric.name}".encode())])
        draws = _resampled_means(base_groups, random), _resampled_means(new_groups, random)
    baseline, paper = (_estimate(means, draws, metric, convention) for convention in ("baseline", "paper"))
    return Cell(baseline, paper, n, n_baseline, shared)


def _values_by_workload(valid: pd.DataFrame, method: str, metric: Metric) -> dict[str, _Values]:
    of_method = valid[valid["method"] == method].dropna(subset=[metric.measurement])
    groups = of_method.groupby("workload", sort=False)[metric.measurement]
    return {str(workload): values.to_numpy(dtype=np.float64) for workload, values in groups}


def _mean_of_means(groups: Sequence[_Values]) -> _Values:
    return np.array([np.mean([values.mean() for values in groups])])


def _resampled_means(groups: Sequence[_Values], random: np.random.Generator) -> _Values:
    """Return `DRAWS` means of means, each over groups resampled with replacement."""
    resampled: list[_Values] = [random.choice(values, size=(DRAWS, len(values))).mean(axis=1) for values in groups]
    means: _Values = np.stack(resampled).mean(axis=0)
    return means


def _estimate(
    means: tuple[_Values, _Values], draws: tuple[_Values, _Values] | None, metric: Metric, convention: str
) -> Estimate:
    pct = _improvement(*means, metric, convention)[0]
    if not np.isfinite(pct):  # both conventions divide by a mean, which may be 0
        return MISSING
    if draws is None:
        return Estimate(float(pct), None, None)
    resampled = _improvement(*draws, metric, convention)
    if not np.isfinite(resampled).all():
        return Estimate(float(pct), None, None)
    low, high = np.percentile(resampled, INTERVAL_PERCENTILES)
    return Estimate(float(pct), float(low), float(high))


def _improvement(base: _Values, new: _Values, metric: Metric, convention: str) -> _Values:
    gain = new - base if metric.higher_is_better else base - new
    divisor = base if convention == "baseline" else np.maximum(base, new)
    return 100 * gain / np.where(divisor > 0, divisor, np.nan)
