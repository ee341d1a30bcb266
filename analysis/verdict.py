# SPDX-License-Identifier: GPL-3.0-or-later
"""Table 3 in words: what each method makes better, worse, or leaves undecided."""

from __future__ import annotations

from collections.abc import Sequence

from .estimate import Estimate
from .metrics import METRICS
from .table3 import BASELINE, Row, Table3

_WORDS = {"improvement": "better in", "worse": "worse in", "no difference shown": "no difference shown in"}
_NO_VERDICT, _NOT_MEASURED = "no verdict, for want of an interval, on", "not measured:"


def verdicts(table: Table3) -> list[str]:
    """Return a sentence a method, from the verdicts of its cells in the baseline convention."""
    return [_sentence(row) for row in table.rows]


def _sentence(row: Row) -> str:
    kinds: dict[str, list[str]] = {}
    for metric in METRICS:
        estimate = row.cells[metric.name].baseline
        title = metric.title.lower()
        kinds.setdefault(_kind(estimate), []).append(
            title if estimate.pct is None else f"{title} ({estimate.pct:+.1f} %)"
        )
    parts = [
        f"{kind} {_enumerate(kinds[kind])}" for kind in (*_WORDS.values(), _NO_VERDICT, _NOT_MEASURED) if kind in kinds
    ]
    return f"{row.method} against {BASELINE}: {'; '.join(parts)}."


def _kind(estimate: Estimate) -> str:
    if estimate.pct is None:
        return _NOT_MEASURED
    return _NO_VERDICT if estimate.verdict is None else _WORDS[estimate.verdict]


def _enumerate(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
