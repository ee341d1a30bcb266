# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Table 3: what each method improves over the baseline method, as ratios of means with 95 % intervals.

A cell compares two means over all workloads: the repeats are averaged within each workload, then the workloads are
averaged with equal weight. Only workloads in which both methods have valid trials count, so that both means are over
the same work, and several pairs of hosts are blocks (see ``strata``). This is the aggregation that gives the paper's
figures from its authors' raw data; averaging the percentages of single workloads does not (total migration time of
vcsp-prefetching: 29.3 instead of 30.5).

Improvement is positive in both conventions: ``baseline`` divides the difference by the baseline's mean, ``paper`` by
the larger of the two means. Both follow from the ratio of the two means, and so do their intervals (see ``interval``).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from ...plugins.plugin_utils._records.errors import InputError
from ..data.roles import BASELINE, PAPER, baseline_of
from .interval import CONFIDENCE, MISSING, Arm, Estimate, Mean, Values, mean_of, ratio_interval
from .metrics import METRICS, Metric
from .strata import Stratum, arm_over, values_by_stratum, workloads_of

Convention = Literal["baseline", "paper"]
# File name -> convention of the CSV tables.
CSV_FILES: Mapping[str, Convention] = {"table3.csv": "baseline", "table3_paper_convention.csv": "paper"}
_HEAD = ("method", *(f"{metric.name}_{part}" for metric in METRICS for part in ("pct", "low", "high", "n")))


class NoTableError(InputError):
    """The records are readable, but nothing in them can be compared with the baseline."""


@dataclass(frozen=True)
class Best:
    """The workload in which a method improves a metric most: what a summary calls "up to".

    It is chosen after the fact: among workloads without any true difference, one still looks best.
    """

    workload: str
    estimate: Estimate


@dataclass(frozen=True)
class Cell:
    """One metric of one method against the baseline.

    :ivar n: trials of the method that count, as ``n_baseline`` of the baseline
    :ivar workloads: the workloads that they cover
    :ivar best: in the baseline convention; None if the cell covers a single workload
    :ivar mean: what the method measured, in the metric's unit, as ``mean_baseline`` is what the baseline did
    """

    baseline: Estimate
    paper: Estimate
    n: int
    n_baseline: int
    workloads: tuple[str, ...]
    best: Best | None
    mean: Mean | None = None
    mean_baseline: Mean | None = None

    def estimate(self, convention: Convention) -> Estimate:
        """Return the cell's value in ``convention``."""
        return self.baseline if convention == "baseline" else self.paper


@dataclass(frozen=True)
class Row:
    """A method; ``cells`` maps the name of every metric to its cell.

    :ivar lost: trials that did not end inside the observation window, and so are in none of the means
    :ivar paper: the paper's name of the method, if both it and the baseline have the paper's settings
    """

    method: str
    paper: str | None
    lost: int
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Table3:
    """The table: one row per method, without the ``baseline`` itself."""

    baseline: str
    baseline_lost: int
    rows: tuple[Row, ...]


def build_table3(trials: pd.DataFrame, methods: Sequence[str], roles: Mapping[str, str]) -> Table3:
    """Compare ``methods`` with the baseline over the valid ``trials`` (see `table.tidy`).

    ``roles`` is what `roles.roles` returns. A cell has no interval where some workload has a single trial, which shows
    no spread, or where the baseline scatters so much that its mean cannot be distinguished from 0.

    :raises NoTableError: nothing valid to compare; the message says what is missing
    """
    valid = trials[trials["valid"]]
    if valid.empty:
        raise NoTableError(f"no Table 3: none of the {len(trials)} trials that were read is valid")
    baseline = baseline_of(roles)
    if baseline is None and BASELINE in methods:
        raise NoTableError(f"no Table 3: it compares with {BASELINE}, and the method of that name has other settings")
    if baseline is None or baseline not in set(valid["method"]):
        raise NoTableError(f"no Table 3: it compares with {BASELINE}, and no trial of {baseline or BASELINE} is valid")
    others = [method for method in methods if method != baseline]
    if not others:
        raise NoTableError(f"no Table 3: there is no method to compare with {baseline}")
    lost = trials["method"][trials["lost"]].value_counts().to_dict() if "lost" in trials else {}
    papers = {roles[role]: role for role in PAPER if role in roles} if BASELINE in roles else {}
    rows = tuple(
        Row(
            method,
            papers.get(method),
            lost.get(method, 0),
            {
                metric.name: cell_of(
                    values_by_stratum(valid, baseline, metric), values_by_stratum(valid, method, metric), metric
                )
                for metric in METRICS
            },
        )
        for method in others
    )
    if all(cell.paper.pct is None for row in rows for cell in row.cells.values()):
        raise NoTableError(f"no Table 3: no workload has a valid measurement of both {baseline} and another method")
    return Table3(baseline, lost.get(baseline, 0), rows)


def table3_csv(table: Table3, convention: Convention) -> str:
    """Return the table as CSV: ``method``, then ``<metric>_pct,_low,_high,_n`` for each metric; missing is empty."""
    return _csv([[*_HEAD], *_lines(table, convention)])


def stacked_csv(tables: Mapping[str, Table3], convention: Convention) -> str:
    """Return the tables of several stacks as one CSV, that of `table3_csv` with a first column ``stack``."""
    lines = [[stack, *line] for stack, table in tables.items() for line in _lines(table, convention)]
    return _csv([["stack", *_HEAD], *lines])


def _csv(lines: Sequence[Sequence[str]]) -> str:
    output = io.StringIO()
    csv.writer(output, lineterminator="\n").writerows(lines)
    return output.getvalue()


def _lines(table: Table3, convention: Convention) -> Iterator[list[str]]:
    for row in table.rows:
        fields = [row.method]
        for metric in METRICS:
            cell = row.cells[metric.name]
            estimate = cell.estimate(convention)
            fields += ["" if x is None else f"{x:.4f}" for x in (estimate.pct, estimate.low, estimate.high)]
            fields.append(str(cell.n))
        yield fields


def cell_of(
    base: Mapping[Stratum, Values], new: Mapping[Stratum, Values], metric: Metric, paired: bool = False
) -> Cell:
    """Compare two sides over the strata that both have.

    :param paired: whether they are of `strata.paired_by_stratum`
    """
    shared = tuple(stratum for stratum in base if stratum in new)
    n, n_baseline = (sum(len(side[stratum]) for stratum in shared) for side in (new, base))
    if not shared:
        return Cell(MISSING, MISSING, n, n_baseline, (), None)
    arms = arm_over(base, shared), arm_over(new, shared, base if paired else None)
    baseline, paper = (estimate_of(*arms, metric, convention) for convention in ("baseline", "paper"))
    best, workloads = _best(base, new, shared, metric), workloads_of(shared)
    return Cell(baseline, paper, n, n_baseline, workloads, best, mean_of(arms[1]), mean_of(arms[0]))


def improvement(base: Values, new: Values, metric: Metric, convention: Convention = "baseline") -> Values:
    """Return by how many percent ``new`` is better than ``base``; NaN where the mean to divide by is 0."""
    gain = new - base if metric.higher_is_better else base - new
    divisor = base if convention == "baseline" else np.maximum(base, new)
    values: Values = 100 * gain / np.where(divisor > 0, divisor, np.nan)
    return values


def improvement_interval(
    base: Arm, new: Arm, metric: Metric, convention: Convention = "baseline", confidence: float = CONFIDENCE
) -> tuple[Values, Values]:
    """Return the ends of the interval of `improvement` at ``confidence``; NaN where there is none."""
    # Either convention grows or falls with the ratio throughout, so the ends of the ratio's interval are the ends.
    ends = [improvement(np.ones_like(end), end, metric, convention) for end in ratio_interval(base, new, confidence)]
    return np.minimum(*ends), np.maximum(*ends)


def _best(
    base: Mapping[Stratum, Values], new: Mapping[Stratum, Values], shared: Sequence[Stratum], metric: Metric
) -> Best | None:
    strata = {name: [each for each in shared if each.workload == name] for name in workloads_of(shared)}
    if len(strata) < 2:
        return None
    estimates = {
        name: estimate_of(arm_over(base, own), arm_over(new, own), metric, "baseline") for name, own in strata.items()
    }
    known = {name: estimate.pct for name, estimate in estimates.items() if estimate.pct is not None}
    if not known:
        return None
    best = max(known, key=lambda name: known[name])
    return Best(best, estimates[best])


def estimate_of(
    base: Arm, new: Arm, metric: Metric, convention: Convention = "baseline", confidence: float = CONFIDENCE
) -> Estimate:
    """Return the improvement of ``new`` over ``base``, with its interval at ``confidence``."""
    pct = float(improvement(base.mean, new.mean, metric, convention))
    if not np.isfinite(pct):  # both conventions divide by a mean, which may be 0
        return MISSING
    low, high = (float(end) for end in improvement_interval(base, new, metric, convention, confidence))
    return Estimate(pct, low, high) if np.isfinite([low, high]).all() else Estimate(pct, None, None)


def table3_data(table: Table3) -> list[dict[str, Any]]:
    """Return an entry for each method and metric.

    ``baseline`` and ``paper`` hold ``pct``, ``low``, ``high`` and ``verdict`` (null is missing); ``best`` adds the
    ``workload``, and is null where the cell covers a single one; ``n`` and ``n_baseline`` count trials.
    """
    return [
        {
            "method": row.method,
            "metric": metric.name,
            "baseline": _estimate_data(cell.baseline),
            "paper": _estimate_data(cell.paper),
            "n": cell.n,
            "n_baseline": cell.n_baseline,
            "workloads": list(cell.workloads),
            "best": None
            if cell.best is None
            else {"workload": cell.best.workload, **_estimate_data(cell.best.estimate)},
        }
        for row in table.rows
        for metric in METRICS
        for cell in [row.cells[metric.name]]
    ]


def _estimate_data(estimate: Estimate) -> dict[str, Any]:
    return {**asdict(estimate), "verdict": estimate.verdict}
