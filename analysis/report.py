# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of an experiment: Table 3, figures and web page in its ``report`` directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..plugins.plugin_utils._records.atomic import write_file
from .figures.converter import bundle, pngs
from .figures.every import draw_figures
from .presentation.html import report_html
from .presentation.tables import table3_markdown, text_table
from .statistics.table3 import table3_csv
from .summary import Summary, summarise

__all__ = ["ReportPaths", "report", "text_table"]

REPORT_DIRECTORY = "report"


@dataclass(frozen=True)
class ReportPaths:
    """The files of a report and what they show; the CSV tables are None without a Table 3 (see ``summary.notice``).

    :ivar figures: the SVG files; each has a PNG file beside it
    """

    table3_csv: Path | None
    table3_paper_convention_csv: Path | None
    table3_md: Path
    figures: tuple[Path, ...]
    html: Path
    summary: Summary


def report(directory: Path) -> ReportPaths:
    """Write the report of the experiment in ``directory``, finished or not, into ``directory/report``.

    Every file is replaced as a whole. If no Table 3 can be made, the CSV tables of an earlier report are removed, lest
    they be taken for current ones; the other files are written and say why.

    :raises InputError: ``directory`` holds no readable experiment; nothing is written
    :raises OSError: the report cannot be written
    """
    summary = summarise(directory)
    bundle()  # so that it is ready when the page needs it
    figures = draw_figures(summary)
    target = directory / REPORT_DIRECTORY
    target.mkdir(exist_ok=True)
    for name, figure in figures.by_file.items():
        write_file(target / name, figure.svg.encode("utf-8"))
    drawn = tuple(target / name for name in figures.by_file)
    converted = pngs(drawn)
    page = report_html(summary, figures)
    baseline_csv, paper_csv = target / "table3.csv", target / "table3_paper_convention.csv"
    if summary.table is None:
        baseline_csv.unlink(missing_ok=True)
        paper_csv.unlink(missing_ok=True)
    else:
        write_file(baseline_csv, table3_csv(summary.table, "baseline").encode("utf-8"))
        write_file(paper_csv, table3_csv(summary.table, "paper").encode("utf-8"))
    table_md, html = target / "table3.md", target / "report.html"
    write_file(table_md, table3_markdown(summary).encode("utf-8"))
    write_file(html, page.encode("utf-8"))
    converted.result()
    has_table = summary.table is not None
    return ReportPaths(
        baseline_csv if has_table else None,
        paper_csv if has_table else None,
        table_md,
        drawn,
        html,
        summary,
    )
