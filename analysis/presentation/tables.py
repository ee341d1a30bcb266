# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Table 3 as text: for the terminal, and as Markdown with what was left out and why."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..statistics.metrics import METRICS, published
from ..statistics.table3 import Convention, Row, Table3
from ..summary import Summary
from .findings import findings
from .wording import CONVENTIONS, aligned, interval, missing_lines, notes, percent, progress, verdict_sentences

_HEAD = ("", "measured", "95 % interval", "verdict", "n", "paper's way", "published")


def text_table(summary: Summary) -> str:
    """Return Table 3 beside the published values as plain text for a terminal, or why there is none."""
    lines = [progress(summary.experiment)]
    if summary.table is None:
        return "\n".join([*lines, str(summary.notice)])
    head, *body = aligned([_HEAD, *(fields for row in summary.table.rows for fields in _fields(row))], texts={0, 3})
    lines += ["", "Table 3: improvement over post-copy in %, over all workloads (positive is better)", head]
    for first, row in zip(range(0, len(body), len(METRICS)), summary.table.rows, strict=True):
        lines += ["", row.method, *body[first : first + len(METRICS)]]
    lines += ["", "measured: divided by post-copy's mean; paper's way: by the larger mean, comparable with published"]
    return "\n".join(lines)


def _fields(row: Row) -> list[tuple[str, ...]]:
    """Return a line's fields for each metric."""
    rows: list[tuple[str, ...]] = []
    for metric in METRICS:
        cell = row.cells[metric.name]
        measured = percent(cell.baseline), interval(cell.baseline), cell.baseline.verdict or "-", str(cell.n)
        paper = percent(cell.paper, 2), published(row.method, metric.name) or "-"
        rows.append((f"  {metric.title}", *measured, *paper))
    return rows


def table3_markdown(summary: Summary) -> str:
    """Return ``table3.md``; without a table it says why, and still lists the trials that were left out."""
    experiment = summary.experiment
    parts = [f"# Table 3 of {_escape(experiment.experiment['experiment_id'])}", _escape(progress(experiment)) + "."]
    if summary.table is None:
        parts.append(f"**{_escape(str(summary.notice))}**")
    else:
        parts.append(_bullets(verdict_sentences(summary.table)))
        parts += _table(summary.table, "baseline") + _table(summary.table, "paper") + _up_to(summary.table)
    if summary.warnings:
        parts += ["## Warnings", _bullets(summary.warnings)]
    for found in findings(summary):
        rows = [found.head, ["---"] * len(found.head), *([_escape(field) for field in line] for line in found.lines)]
        parts += [f"## {found.title}", _escape(found.explanation), _rows(rows)]
    parts += ["## Notes", _bullets(notes(experiment, summary.table))]
    for title, lines in (
        ("Invalid trials", experiment.invalid),
        ("Skipped", (*experiment.skipped, *summary.curves.skipped)),
        ("Missing trials", missing_lines(experiment.missing)),
    ):
        if lines:
            parts += [f"## {title}", _bullets(lines)]
    return "\n\n".join(parts) + "\n"


def _table(table: Table3, convention: Convention) -> list[str]:
    """Return the heading and the table of one convention; published values stand beside the one they are in."""
    is_paper = convention == "paper"
    head = [
        "method",
        "metric",
        "improvement (%)",
        "95 % interval",
        "n",
        "n of post-copy",
        "published (%)" if is_paper else "verdict",
    ]
    lines = [head, ["---"] * 2 + ["---:"] * 4 + ["---:" if is_paper else "---"]]
    for row in table.rows:
        for metric in METRICS:
            cell = row.cells[metric.name]
            estimate = cell.estimate(convention)
            fields = [
                row.method,
                metric.title,
                percent(estimate, 2 if is_paper else 1),
                interval(estimate),
                str(cell.n),
                str(cell.n_baseline),
            ]
            lines.append([*fields, (published(row.method, metric.name) if is_paper else estimate.verdict) or "-"])
    return [f"## Improvement over post-copy, {CONVENTIONS[convention]}", _rows(lines)]


def _up_to(table: Table3) -> list[str]:
    """Return the heading and the table of each cell's best workload; nothing when there is one workload alone."""
    lines = [
        ["method", "metric", "workload", "up to (%)", "95 % interval", "verdict"],
        ["---"] * 3 + ["---:"] * 2 + ["---"],
    ]
    for row in table.rows:
        for metric in METRICS:
            best = row.cells[metric.name].best
            if best is not None:
                value = percent(best.estimate), interval(best.estimate), best.estimate.verdict or "-"
                lines.append([row.method, metric.title, best.workload, *value])
    return ["## Up to: the best workload of each, divided by post-copy's mean", _rows(lines)] if len(lines) > 2 else []


def _rows(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(fields) + " |" for fields in lines)


def _bullets(lines: Sequence[object]) -> str:
    return "\n".join(f"- {_escape(str(line))}" for line in lines)


def _escape(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
