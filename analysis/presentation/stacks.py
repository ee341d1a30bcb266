# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The stacks of one experiment, each beside the first one: for the terminal, as CSV and JSON, and as a web page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from markupsafe import Markup

from ..comparison import Change, Comparison
from ..figures.style import Figure
from ..statistics.quality import NoiseWarning
from ..summary import Summary
from .comparison import HEAD, change_tables, comparison_data, comparison_text, verdict
from .html_data import data_url
from .pages import environment
from .tables import text_table
from .wording import lost_lines, machine, progress, verdict_sentences, warned

_TEMPLATES = Path(__file__).parent / "templates"
_COLUMNS = tuple(field.name for field in fields(Change))


def names(comparison: Comparison) -> tuple[str, str]:
    """Return the reference and the stack that is held against it."""
    (reference,), (stack,) = comparison.baseline.stacks, comparison.new.stacks
    return reference, stack


def stacks_text(summaries: Sequence[Summary], comparisons: Sequence[Comparison]) -> str:
    """Return Table 3 of each stack, then each against the first, for a terminal."""
    parts = [f"Stack {summary.experiment.stacks[0]}: {text_table(summary)}" for summary in summaries]
    parts += [
        f"{stack} against {reference}, each repeat run on both\n{comparison_text(comparison)}"
        for comparison in comparisons
        for reference, stack in [names(comparison)]
    ]
    return "\n\n".join(parts)


def stacks_csv(comparisons: Sequence[Comparison]) -> str:
    """Return each change as a line: ``reference``, ``stack``, then the fields of `Change`; missing is empty.

    An empty ``workload`` is all of them.
    """
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(["reference", "stack", *_COLUMNS])
    for comparison in comparisons:
        for change in comparison.changes:
            writer.writerow([*names(comparison), *asdict(change).values()])
    return output.getvalue()


def stacks_json(comparisons: Sequence[Comparison]) -> str:
    """Return the comparisons as JSON, each as `comparison_data` describes."""
    return json.dumps({"schema_version": 1, "comparisons": [*map(comparison_data, comparisons)]}, indent=2) + "\n"


def stacks_html(
    summaries: Sequence[Summary],
    comparisons: Sequence[Comparison],
    figures: Mapping[str, Figure],
    warnings: Sequence[NoiseWarning],
) -> str:
    """Return the page that leads to the report of each stack."""
    experiment = summaries[0].experiment
    parts = {
        "experiment": experiment,
        "stacks": [
            {
                "name": summary.experiment.stacks[0],
                "machine": machine(summary.experiment),
                "progress": progress(summary.experiment),
                "lines": [
                    *(
                        [*verdict_sentences(summary.table), *lost_lines(summary.table)]
                        if summary.table
                        else [summary.notice]
                    ),
                    *warned(summary.warnings),
                ],
            }
            for summary in summaries
        ],
        "comparisons": [
            {
                "names": names(comparison),
                "verdict": verdict(comparison),
                "comparison": comparison,
                "tables": list(change_tables(comparison.changes)),
            }
            for comparison in comparisons
        ],
        "head": HEAD,
        "classes": {"improvement": "better", "regression": "worse"},
        "warnings": warnings,
        "figures": figures,
        "pictures": {name: data_url(figure.svg.encode("utf-8"), "image/svg+xml") for name, figure in figures.items()},
        "style": Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),  # noqa: S704
    }
    return environment(_TEMPLATES).get_template("stacks.html.j2").render(**parts)
