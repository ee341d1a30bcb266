# SPDX-License-Identifier: GPL-3.0-or-later
"""The web report: one self-contained file that works offline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .metrics import METRICS
from .published import published
from .summary import Summary
from .text_table import interval, percent
from .verdict import verdicts
from .wording import CONVENTIONS, missing_lines, notes, progress

_TEMPLATES = Path(__file__).parent / "templates"


def report_html(summary: Summary, figures: Mapping[str, str]) -> str:
    """Return ``report.html``; ``figures`` maps file names to the SVG text that is put into the page."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    experiment = summary.experiment
    return environment.get_template("report.html.j2").render(
        experiment=experiment.experiment,
        progress=progress(experiment),
        notice=summary.notice,
        table=summary.table,
        verdicts=verdicts(summary.table) if summary.table else [],
        conventions=CONVENTIONS,
        metrics=METRICS,
        published=published,
        percent=percent,
        interval=interval,
        # Drawn here, from text that Vega escapes; and the page's policy lets no script run.
        figures={name: Markup(svg) for name, svg in figures.items()},  # noqa: S704
        notes=notes(experiment, summary.table),
        invalid=[record for record in experiment.records if not record.valid],
        skipped=[*experiment.skipped, *summary.curves.skipped],
        missing=missing_lines(experiment.missing),
        instruments=_instruments(summary),
    )


def _instruments(summary: Summary) -> list[dict[str, Any]]:
    """Say of each instrument in how many trials it was present, and why it was not in others."""
    found: dict[str, dict[str, Any]] = {}
    for record in summary.experiment.records:
        for name, instrument in record.data["instruments"].items():
            entry = found.setdefault(name, {"name": name, "present": 0, "total": 0, "reasons": []})
            entry["total"] += 1
            entry["present"] += instrument["present"]
            if instrument["reason"] and instrument["reason"] not in entry["reasons"]:
                entry["reasons"].append(instrument["reason"])
    return [found[name] for name in sorted(found)]
