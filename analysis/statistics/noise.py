# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Warnings about trials that scatter, and what to do about them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from .metrics import METRICS
from .self_check import SelfCheck
from .table3 import Table3

# Of the repeats of one cell. Quiet machines stay below 15 % even in downtime, which scatters most.
MOST_CV_PERCENT = 25.0
# Half the width of an interval of Table 3 from which on there is little that it can decide.
MOST_HALF_WIDTH = 15.0
MOST_INVALID_PERCENT = 10.0

_QUIET = "quiet the machine (other processes, power saving, neighbours on the same hardware) and raise repeats"


@dataclass(frozen=True)
class NoiseWarning:
    """Something about the trials that weakens what can be said from them, and what to do about it."""

    problem: str
    advice: str

    def __str__(self) -> str:
        return f"{self.problem}: {self.advice}"


def noise_warnings(trials: pd.DataFrame, table: Table3 | None, checks: Sequence[SelfCheck]) -> tuple[NoiseWarning, ...]:
    """Return the warnings about ``trials`` (see `table.tidy`), the table made of them, and their A/A ``checks``."""
    return (*_invalid(trials), *_scatter(trials), *(_wide(table) if table else ()), *_unlike_themselves(checks))


def _invalid(trials: pd.DataFrame) -> list[NoiseWarning]:
    invalid = int((~trials["valid"]).sum())
    if not invalid or 100 * invalid <= MOST_INVALID_PERCENT * len(trials):
        return []
    problem = f"{invalid} of {len(trials)} trials are invalid"
    return [
        NoiseWarning(problem, "remove their causes, listed with them, and run the experiment again to fill the gaps")
    ]


def _scatter(trials: pd.DataFrame) -> list[NoiseWarning]:
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
                problem = f"{metric.title} of {row.method} is known to within {half:.0f} points only"
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
