# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Table 3 for the terminal."""

from __future__ import annotations

from ..statistics.estimate import Estimate
from ..statistics.metrics import METRICS
from ..statistics.published import published
from ..statistics.table3 import Row
from ..summary import Summary
from .wording import progress

_HEAD = ("", "measured", "95 % interval", "verdict", "n", "paper's way", "published")
_TEXTS = {0, 3}


def text_table(summary: Summary) -> str:
    """Return Table 3 beside the published values as plain text for a terminal, or why there is none."""
    lines = [progress(summary.experiment)]
    if summary.table is None:
        return "\n".join([*lines, str(summary.notice)])
    rows = [_HEAD, *(fields for row in summary.table.rows for fields in _rows(row))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["", "Table 3: improvement over post-copy in %, over all workloads (positive is better)"]
    for index, fields in enumerate(rows):
        if (index - 1) % len(METRICS) == 0:
            lines += ["", summary.table.rows[(index - 1) // len(METRICS)].method]
        lines.append(
            "  ".join(
                field.ljust(width) if column in _TEXTS else field.rjust(width)
                for column, (field, width) in enumerate(zip(fields, widths, strict=True))
            )
        )
    lines += ["", "measured: divided by post-copy's mean; paper's way: by the larger mean, comparable with published"]
    return "\n".join(line.rstrip() for line in lines)


def interval(estimate: Estimate) -> str:
    """Return the interval as "[-1.0, 2.5]", or "-" where there is none."""
    return "-" if estimate.low is None or estimate.high is None else f"[{estimate.low:+.1f}, {estimate.high:+.1f}]"


def percent(estimate: Estimate, digits: int = 1) -> str:
    """Return the improvement with its sign, or "-" where there is none."""
    return "-" if estimate.pct is None else f"{estimate.pct:+.{digits}f}"


def _rows(row: Row) -> list[tuple[str, ...]]:
    """Return a line's fields for each metric."""
    rows: list[tuple[str, ...]] = []
    for metric in METRICS:
        cell = row.cells[metric.name]
        measured = percent(cell.baseline), interval(cell.baseline), cell.baseline.verdict or "-", str(cell.n)
        paper = percent(cell.paper, 2), published(row.method, metric.name) or "-"
        rows.append((f"  {metric.title}", *measured, *paper))
    return rows
