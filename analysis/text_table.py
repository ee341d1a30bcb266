# SPDX-License-Identifier: GPL-3.0-or-later
"""Table 3 for the terminal."""

from __future__ import annotations

from .metrics import METRICS
from .published import published
from .summary import Summary
from .table3 import Estimate, Row
from .wording import progress

_HEAD = ("method", "metric", "measured", "95 % interval", "n", "paper's way", "published")


def text_table(summary: Summary) -> str:
    """Return Table 3 beside the published values as plain text for a terminal, or why there is none."""
    lines = [progress(summary.experiment)]
    if summary.table is None:
        return "\n".join([*lines, str(summary.notice)])
    rows = [_HEAD, *(fields for row in summary.table.rows for fields in _rows(row))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["", "Table 3: improvement over post-copy in % (positive is better)", ""]
    for index, fields in enumerate(rows):
        if index and fields[0]:
            lines.append("-" * (sum(widths) + 2 * len(widths) - 2))
        names = [field.ljust(width) for field, width in zip(fields[:2], widths[:2], strict=True)]
        numbers = [field.rjust(width) for field, width in zip(fields[2:], widths[2:], strict=True)]
        lines.append("  ".join(names + numbers))
    lines += ["", "measured: divided by post-copy's mean; paper's way: by the larger mean, comparable with published"]
    return "\n".join(line.rstrip() for line in lines)


def interval(estimate: Estimate) -> str:
    """Return the interval as "[-1.0, 2.5]", or "-" where there is none."""
    return "-" if estimate.low is None or estimate.high is None else f"[{estimate.low:+.1f}, {estimate.high:+.1f}]"


def percent(estimate: Estimate, digits: int = 1) -> str:
    """Return the improvement with its sign, or "-" where there is none."""
    return "-" if estimate.pct is None else f"{estimate.pct:+.{digits}f}"


def _rows(row: Row) -> list[tuple[str, ...]]:
    """Return a line's fields for each metric; the method's name stands before the first."""
    rows: list[tuple[str, ...]] = []
    for metric in METRICS:
        cell = row.cells[metric.name]
        name = row.method if metric is METRICS[0] else ""
        measured = percent(cell.baseline), interval(cell.baseline), str(cell.n), percent(cell.paper, 2)
        rows.append((name, metric.title, *measured, published(row.method, metric.name) or "-"))
    return rows
