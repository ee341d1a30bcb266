# SPDX-License-Identifier: GPL-3.0-or-later
"""Table 3 in words: what each method makes better, worse, or leaves undecided."""

from __future__ import annotations

from collections.abc import Sequence

from .metrics import METRICS
from .table3 import BASELINE, Estimate, Row, Table3


def verdicts(table: Table3) -> list[str]:
    """Return a sentence a method, in the baseline convention.

    A metric counts as better or worse only when its whole 95 % interval is on one side of zero.
    """
    return [_verdict(row) for row in table.rows]


def _verdict(row: Row) -> str:
    kinds: dict[str, list[str]] = {}
    for metric in METRICS:
        estimate = row.cells[metric.name].baseline
        title = metric.title.lower()
        kinds.setdefault(_kind(estimate), []).append(
            title if estimate.pct is None else f"{title} ({estimate.pct:+.1f} %)"
        )
    order = ("better in", "worse in", "no clear difference in", "not decided by single trials:", "not measured:")
    parts = [f"{kind} {_enumerate(kinds[kind])}" for kind in order if kind in kinds]
    return f"{row.method} against {BASELINE}: {'; '.join(parts)}."


def _kind(estimate: Estimate) -> str:
    if estimate.pct is None:
        return "not measured:"
    if estimate.low is None or estimate.high is None:
        return "not decided by single trials:"
    if estimate.low > 0:
        return "better in"
    if estimate.high < 0:
        return "worse in"
    return "no clear difference in"


def _enumerate(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
