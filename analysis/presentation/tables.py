# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Table 3 as text: for the terminal, and as Markdown with what was left out and why."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from ..statistics.metrics import METRICS, published
from ..statistics.table3 import Convention, Row, Table3
from ..summary import Summary
from .findings import findings
from .wording import (
    CONVENTIONS,
    aligned,
    amount,
    best_lines,
    interval,
    lost_lines,
    machine,
    missing_lines,
    notes,
    percent,
    progress,
    verdict_sentences,
    warned,
)

_HEAD = ("", "measured", "95 % interval", "verdict", "n", "lost", "paper's way", "published")


def text_table(summary: Summary) -> str:
    """Return Table 3 beside the published values as plain text for a terminal, or why there is none."""
    lines = [progress(summary.experiment)]
    if summary.table is None:
        return "\n".join([*lines, str(summary.notice)])
    head, *body = aligned([_HEAD, *(fields for row in summary.table.rows for fields in _fields(row))], texts={0, 3})
    lines += ["", "Table 3: improvement over post-copy in %, over all workloads (positive is better)", head]
    for first, row in zip(range(0, len(body), len(METRICS)), summary.table.rows, strict=True):
        lines += ["", row.method, *body[first : first + len(METRICS)]]
    lines += lost_lines(summary.table)
    lines += ["", "measured: divided by post-copy's mean; paper's way: by the larger mean, comparable with published"]
    return "\n".join(lines)


def _fields(row: Row) -> list[tuple[str, ...]]:
    """Return a line's fields for each metric."""
    rows: list[tuple[str, ...]] = []
    for metric in METRICS:
        cell = row.cells[metric.name]
        measured = (
            percent(cell.baseline),
            interval(cell.baseline),
            cell.baseline.verdict or "-",
            str(cell.n),
            str(row.lost),
        )
        paper = percent(cell.paper, 2), published(row.paper, metric.name) or "-"
        rows.append((f"  {metric.title}", *measured, *paper))
    return rows


def trials_csv(trials: pd.DataFrame) -> str:
    """Return the tidy table as CSV; text that a spreadsheet would take for a formula begins with an apostrophe."""
    texts = trials.select_dtypes(include=["object", "string"])
    safe = texts.replace(r"^(?=[=+\-@\t\r])", "'", regex=True)
    csv: str = trials.assign(**safe).to_csv(index=False, lineterminator="\n")
    return csv


def table3_markdown(summary: Summary) -> str:
    """Return ``table3.md``; without a table it says why, and still lists the trials that were left out."""
    experiment = summary.experiment
    parts = [
        f"# Table 3 of {_escape(experiment.experiment['experiment_id'])}",
        f"Measured on: {_escape(machine(experiment))}.",
        _escape(progress(experiment)) + ".",
    ]
    if summary.table is None:
        parts.append(f"**{_escape(str(summary.notice))}**")
    else:
        parts.append(
            _bullets(
                [
                    *best_lines(summary.leaders),
                    *verdict_sentences(summary.table),
                    *lost_lines(summary.table),
                    *warned(summary.warnings),
                ]
            )
        )
        parts += _table(summary.table, "baseline") + _table(summary.table, "paper") + _up_to(summary.table)
    if summary.warnings:
        parts += ["## Warnings", _bullets(summary.warnings)]
    for found in findings(summary):
        sides = ["---"] * found.keys + ["---:"] * (len(found.head) - found.keys)
        rows = [found.head, sides, *([_escape(field) for field in line] for line in found.lines)]
        terms = [_bullets([f"{title}: {meaning}" for title, meaning in found.terms])] if found.terms else []
        parts += [f"## {found.title}", _escape(found.explanation), *terms, _rows(rows)]
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
        "method's mean",
        f"{table.baseline}'s mean",
        "n",
        "n of post-copy",
        "lost",
        "published (%)" if is_paper else "verdict",
    ]
    lines = [head, ["---"] * 2 + ["---:"] * 7 + ["---:" if is_paper else "---"]]
    for row in table.rows:
        for metric in METRICS:
            cell = row.cells[metric.name]
            estimate = cell.estimate(convention)
            fields = [
                row.method,
                metric.title,
                percent(estimate, 2 if is_paper else 1),
                interval(estimate),
                f"{amount(cell.mean)} {metric.unit}",
                f"{amount(cell.mean_baseline)} {metric.unit}",
                str(cell.n),
                str(cell.n_baseline),
                f"{row.lost} / {table.baseline_lost}",
            ]
            lines.append([*fields, (published(row.paper, metric.name) if is_paper else estimate.verdict) or "-"])
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
