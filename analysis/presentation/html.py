# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The web report: one self-contained file that works offline.

Without its script the page shows all of the report but the details of single trials; the script makes the figures
interactive. The page's policy lets it load nothing, and run only the scripts that are written here.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..figures.converter import bundle
from ..figures.every import Figures
from ..figures.style import Figure
from ..statistics.metrics import METRICS, published
from ..statistics.requests import ACCURACY
from ..statistics.table3 import CSV_FILES, table3_csv
from ..summary import Summary
from .findings import findings
from .html_data import data_url, listed, page_data
from .pages import environment
from .tables import trials_csv
from .wording import (
    CONVENTIONS,
    amount,
    best_lines,
    contradictions,
    interval,
    lost_lines,
    machine,
    missing_lines,
    notes,
    percent,
    progress,
    verdict_sentences,
)

_TEMPLATES = Path(__file__).parent / "templates"
_LARGEST_PICTURE_BYTES = 200_000


def report_html(summary: Summary, figures: Figures) -> str:
    """Return ``report.html``."""
    libraries = bundle()  # which takes as long as all else
    experiment = summary.experiment
    ids = [record.trial_id for record in listed(experiment)]
    rows = summary.table.rows if summary.table else ()
    parts = {
        "summary": summary,
        "experiment": experiment,
        "progress": progress(experiment),
        "machine": machine(experiment),
        "amount": amount,
        "together": _together,
        "best": best_lines(summary.leaders),
        "verdicts": [*verdict_sentences(summary.table), *lost_lines(summary.table)] if summary.table else [],
        "contradictions": contradictions(summary.table) if summary.table else [],
        "classes": {"improvement": "better", "worse": "worse"},
        "has_best": any(cell.best for row in rows for cell in row.cells.values()),
        "conventions": CONVENTIONS,
        "metrics": METRICS,
        "definitions": (*METRICS, ACCURACY),
        "published": published,
        "percent": percent,
        "interval": interval,
        "figures": figures.by_file,
        "pictures": {name: _picture(figure) for name, figure in figures.by_file.items()},
        "selectable": {name for name, of_workload in figures.by_workload.items() if len(of_workload) > 1},
        "number": _number,
        "notes": notes(experiment, summary.table),
        "trials": summary.trials.set_index("trial_id", drop=False).loc[ids].to_dict("records"),
        "workloads": list(dict.fromkeys(cell.workload for cell in experiment.planned)),
        "not_drawn": [*summary.curves.skipped, *figures.skipped],
        "findings": findings(summary),
        "missing": missing_lines(experiment.missing),
        "instruments": _instruments(summary),
        "downloads": _downloads(summary),
        "style": Markup(_text("report.css")),  # noqa: S704
        "data": Markup(page_data(summary, figures)),  # noqa: S704 - free of markup, see there
    }
    # Nothing in these texts comes from records.
    texts = libraries.result().replace("</script", "<\\/script"), _text("report.js")
    scripts = [Markup(text) for text in texts]  # noqa: S704
    return (
        environment(_TEMPLATES)
        .get_template("report.html.j2")
        .render(**parts, scripts=scripts, hashes=" ".join(f"'sha256-{_hash(script)}'" for script in scripts))
    )


def _picture(figure: Figure) -> str | None:
    """Return the figure's picture as a data URL, or None if it would make up most of the page."""
    svg = figure.svg.encode("utf-8")
    return data_url(svg, "image/svg+xml") if len(svg) <= _LARGEST_PICTURE_BYTES else None


def _number(value: float) -> str:
    """Return a measurement with four digits; NaN, which is missing, as "-"."""
    return "-" if math.isnan(value) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _together(text: object) -> str:
    """Return ``text`` with spaces that do not break where a line may not: in brackets, around a slash, before a %."""
    return re.sub(r"\[[^\[\]]*\]|\S+ / \S+|\d %", lambda found: found[0].replace(" ", "\u00a0"), str(text))


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _downloads(summary: Summary) -> dict[str, str]:
    """Return file name -> data URL of the tables."""
    texts = {"trials.csv": trials_csv(summary.trials)}
    if summary.table is not None:
        texts |= {name: table3_csv(summary.table, convention) for name, convention in CSV_FILES.items()}
    return {name: data_url(text.encode("utf-8"), "text/csv") for name, text in texts.items()}


def _instruments(summary: Summary) -> list[dict[str, Any]]:
    """Return, for each instrument, in how many trials it was present, and why it was absent from others."""
    found: dict[str, dict[str, Any]] = {}
    for record in summary.experiment.records:
        for name, instrument in record.data["instruments"].items():
            entry = found.setdefault(name, {"name": name, "present": 0, "total": 0, "reasons": []})
            entry["total"] += 1
            entry["present"] += instrument["present"]
            if instrument["reason"] and instrument["reason"] not in entry["reasons"]:
                entry["reasons"].append(instrument["reason"])
    return [found[name] for name in sorted(found)]
