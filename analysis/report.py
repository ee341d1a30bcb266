# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of an experiment: Table 3, figures and web page in its ``report`` directory.

Of an experiment that compares stacks, each stack has such a report in a directory of its own, and above them stands
what they are beside each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..plugins.plugin_utils._records.atomic import write_file
from ..plugins.plugin_utils._records.records import Experiment, Skipped
from .comparison import Comparison
from .data.checked import read_checked
from .figures.converter import bundle, pngs
from .figures.every import draw_figures
from .figures.workloads import workload_figure
from .presentation import stacks
from .presentation.html import report_html
from .presentation.tables import table3_markdown, text_table, trials_csv
from .stacks import compare_stacks
from .statistics.metrics import METRICS
from .statistics.neighbours import neighbour_warnings
from .statistics.table3 import CSV_FILES, Convention, stacked_csv, table3_csv
from .summary import Summary, summary_of

__all__ = ["Report", "report"]

REPORT_DIRECTORY = "report"
STACKS_DIRECTORY = "stacks"


@dataclass(frozen=True)
class Report:
    """The web page of a report, which all other files are beside, and what they show.

    :ivar summaries: of each stack, or of the experiment if it compares none
    :ivar comparisons: of each stack with the first one
    """

    html: Path
    summaries: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...] = ()

    @property
    def text(self) -> str:
        """Table 3, and what the stacks are beside each other, for a terminal."""
        if self.comparisons:
            return stacks.stacks_text(self.summaries, self.comparisons)
        return text_table(self.summaries[0])

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was found beside the trials, or in them, and not used."""
        found = (each for summary in self.summaries for each in (*summary.experiment.skipped, *summary.curves.skipped))
        return tuple(dict.fromkeys(found))

    @property
    def failed(self) -> bool:
        """Whether some Table 3 or comparison was not made, although it was to be."""
        return any(summary.failed for summary in self.summaries) or any(each.obstacles for each in self.comparisons)


def report(directory: Path) -> Report:
    """Write the report of the experiment in ``directory``, finished or not, into ``directory/report``.

    Every file is replaced as a whole. If no Table 3 can be made, the CSV tables of an earlier report are removed, lest
    they be taken for current ones; the other files are written and say why.

    :raises InputError: ``directory`` holds no readable experiment; nothing is written
    :raises OSError: the report cannot be written
    """
    experiment, target = read_checked(directory), directory / REPORT_DIRECTORY
    if experiment.stacks:
        return _of_stacks(experiment, target)
    summary = summary_of(experiment)
    _write(summary, target)
    return Report(target / "report.html", (summary,))


def _write(summary: Summary, target: Path) -> None:
    bundle()  # so that it is ready when the page needs it
    figures = draw_figures(summary)
    target.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.by_file.items():
        write_file(target / name, figure.svg.encode("utf-8"))
    converted = pngs([target / name for name in figures.by_file])
    page = report_html(summary, figures)
    table = summary.table
    _write_tables(target, None if table is None else lambda convention: table3_csv(table, convention))
    write_file(target / "trials.csv", trials_csv(summary.trials).encode("utf-8"))
    write_file(target / "table3.md", table3_markdown(summary).encode("utf-8"))
    write_file(target / "report.html", page.encode("utf-8"))
    converted.result()


def _of_stacks(experiment: Experiment, target: Path) -> Report:
    summaries = tuple(summary_of(experiment.of_stack(stack)) for stack in experiment.stacks)
    comparisons = tuple(compare_stacks(experiment, stack) for stack in experiment.stacks[1:])
    for summary in summaries:
        _write(summary, target / STACKS_DIRECTORY / summary.experiment.stacks[0])
    trials = pd.concat([summary.trials for summary in summaries], ignore_index=True)
    figures = {
        f"stacks_{metric.name}.svg": workload_figure(trials, experiment.methods, metric, "") for metric in METRICS
    }
    for name, figure in figures.items():
        write_file(target / name, figure.svg.encode("utf-8"))
    converted = pngs([target / name for name in figures])
    tables = {summary.experiment.stacks[0]: summary.table for summary in summaries if summary.table is not None}
    _write_tables(target, (lambda convention: stacked_csv(tables, convention)) if tables else None)
    found = Report(target / "report.html", summaries, comparisons)
    for name, text in (
        ("trials.csv", trials_csv(trials)),
        ("stacks.csv", stacks.stacks_csv(comparisons)),
        ("stacks.json", stacks.stacks_json(comparisons)),
        ("stacks.txt", found.text + "\n"),
        ("report.html", stacks.stacks_html(summaries, comparisons, figures, neighbour_warnings(experiment.records))),
    ):
        write_file(target / name, text.encode("utf-8"))
    converted.result()
    return found


def _write_tables(target: Path, table: Callable[[Convention], str] | None) -> None:
    """Write Table 3 in each convention, or remove that of an earlier report."""
    for name, convention in CSV_FILES.items():
        if table is None:
            (target / name).unlink(missing_ok=True)
        else:
            write_file(target / name, table(convention).encode("utf-8"))
