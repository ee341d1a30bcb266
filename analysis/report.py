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
from .presentation.tables import table3_markdown, text_table, trials_csv
from .statistics.table3 import CSV_FILES, table3_csv
from .summary import Summary, summarise

__all__ = ["Report", "report", "text_table"]

REPORT_DIRECTORY = "report"


@dataclass(frozen=True)
class Report:
    """The web page of a report, which all other files are beside, and what they show."""

    html: Path
    summary: Summary


def report(directory: Path) -> Report:
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
    converted = pngs([target / name for name in figures.by_file])
    page = report_html(summary, figures)
    for name, convention in CSV_FILES.items():
        if summary.table is None:
            (target / name).unlink(missing_ok=True)
        else:
            write_file(target / name, table3_csv(summary.table, convention).encode("utf-8"))
    write_file(target / "trials.csv", trials_csv(summary.trials).encode("utf-8"))
    write_file(target / "table3.md", table3_markdown(summary).encode("utf-8"))
    write_file(target / "report.html", page.encode("utf-8"))
    converted.result()
    return Report(target / "report.html", summary)
