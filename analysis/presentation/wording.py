# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The sentences that the terminal, the Markdown table and the web report share."""

from __future__ import annotations

from ...plugins.plugin_utils._records.printable import printable
from ...plugins.plugin_utils._records.records import Cell, Experiment
from ..statistics.metrics import METRICS
from ..statistics.table3 import Table3

CONVENTIONS = {
    "baseline": "divided by post-copy's mean",
    "paper": "divided by the larger of the two means, as the paper does",
}


def progress(experiment: Experiment) -> str:
    """Say how much of the experiment there is: "47 of 48 trials recorded: 46 valid, 1 invalid; 1 missing"."""
    valid = sum(record.valid for record in experiment.records)
    invalid = len(experiment.records) - valid
    text = f"{len(experiment.records)} of {len(experiment.planned)} trials recorded: {valid} valid, {invalid} invalid"
    if experiment.missing:
        text += f"; {len(experiment.missing)} missing"
    if experiment.skipped:
        text += f"; {len(experiment.skipped)} unusable entries skipped"
    return text


def missing_lines(cells: tuple[Cell, ...]) -> list[str]:
    """Name missing trials, a line for each workload and method."""
    repeats: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        repeats.setdefault((cell.workload, cell.method), []).append(str(cell.repeat))
    return [
        f"{workload}, {method}: repeat{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
        for (workload, method), numbers in repeats.items()
    ]


def notes(experiment: Experiment, table: Table3 | None) -> list[str]:
    """Say what a reader of Table 3 must know to judge it."""
    found = [
        "Positive is an improvement over post-copy. A value is a ratio of means: repeats are averaged within each"
        " workload, then workloads with equal weight, over the workloads in which both methods have valid trials.",
        "Intervals are 95 % (Fieller's, with Welch's degrees of freedom, of the repeats within workload and method),"
        " each for its own cell: among 20 cells without a true difference, one verdict is wrong on average. n counts"
        " the method's trials and post-copy's.",
        "A verdict is improvement or worse when the whole interval in the baseline convention is on one side of 0, else"
        " no difference shown, which is not the same as no difference. Without an interval there is no verdict.",
        'Table 3 is over all workloads. "Up to" is the workload with the largest improvement; being chosen for its'
        " value, it tends to be too large.",
        "Pages transferred compares page requests, what the paper counts; the pages and KB sent are in the records.",
        "The paper prints 30.33 for the total migration time of vcsp-prefetching; its authors' raw data give 30.47.",
        "Invalid, skipped and missing trials enter no mean.",
    ]
    remarks = experiment.experiment["provenance"].get("remarks")
    if isinstance(remarks, list):
        found += [printable(str(remark), 1000) for remark in remarks]
    if table is not None:
        found += _coverage(experiment, table)
    return found


def _coverage(experiment: Experiment, table: Table3) -> list[str]:
    """Name the cells that rest on single trials or on a part of the workloads."""
    found = []
    for metric in METRICS:
        measured = {
            record.cell.workload
            for record in experiment.records
            if record.data["measurements"][metric.measurement] is not None
        }
        for row in table.rows:
            cell, what = row.cells[metric.name], f"{metric.title} of {row.method}"
            if cell.baseline.pct is None:
                found.append(f"{what}: no value, no workload has a valid measurement of both methods.")
            elif cell.baseline.low is None:
                found.append(
                    f"{what}: no interval, some workload has a single valid trial, or post-copy scatters too much."
                )
            left_out = sorted(measured - set(cell.workloads))
            if cell.workloads and left_out:
                found.append(f"{what}: without {', '.join(left_out)}, where one side has no valid measurement.")
    return found
