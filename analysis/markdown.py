# SPDX-License-Identifier: GPL-3.0-or-later
"""Table 3 as Markdown: measured beside published, with what was left out and why."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .metrics import METRICS
from .published import published
from .summary import Summary
from .table3 import Convention, Table3
from .text_table import interval, percent
from .verdict import verdicts
from .wording import CONVENTIONS, missing_lines, notes, progress


def table3_markdown(summary: Summary) -> str:
    """Return ``table3.md``; without a table it says why, and still lists the trials that were left out."""
    experiment = summary.experiment
    parts = [f"# Table 3 of {_escape(experiment.experiment['experiment_id'])}", _escape(progress(experiment)) + "."]
    if summary.table is None:
        parts.append(f"**{_escape(str(summary.notice))}**")
    else:
        parts.append(_bullets(verdicts(summary.table)))
        parts += _table(summary.table, "baseline") + _table(summary.table, "paper")
    parts += ["## Notes", _bullets(notes(experiment, summary.table))]
    invalid = [f"{record.trial_id}: {'; '.join(record.reasons)}" for record in experiment.records if not record.valid]
    skipped = [f"{entry.name}: {entry.reason}" for entry in (*experiment.skipped, *summary.curves.skipped)]
    for title, lines in (
        ("Invalid trials", invalid),
        ("Skipped", skipped),
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
        *(["published (%)"] if is_paper else []),
    ]
    lines = [head, ["---"] * 2 + ["---:"] * (len(head) - 2)]
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
            lines.append(fields + ([published(row.method, metric.name) or "-"] if is_paper else []))
    heading = f"## Improvement over post-copy, {CONVENTIONS[convention]}"
    return [heading, "\n".join("| " + " | ".join(fields) + " |" for fields in lines)]


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_escape(line)}" for line in lines)


def _escape(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
