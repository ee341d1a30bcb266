# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The sentences and numbers that the terminal, the Markdown table and the web report share."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from ...plugins.module_utils._link import is_found
from ...plugins.plugin_utils._records.printable import printable
from ...plugins.plugin_utils._records.records import Cell, Experiment, Record
from ..data.likeness import stated
from ..statistics.best import Leader
from ..statistics.interval import Estimate, Mean
from ..statistics.metrics import METRICS, published
from ..statistics.table3 import Row, Table3

CONVENTIONS = {
    "baseline": "divided by post-copy's mean",
    "paper": "divided by the larger of the two means, as the paper does",
}


def progress(experiment: Experiment) -> str:
    """Return how much of the experiment there is: "47 of 48 trials recorded: 46 valid, 1 invalid; 1 missing"."""
    valid = sum(record.valid for record in experiment.records)
    invalid = len(experiment.records) - valid
    text = f"{len(experiment.records)} of {len(experiment.planned)} trials recorded: {valid} valid, {invalid} invalid"
    if experiment.missing:
        text += f"; {len(experiment.missing)} missing"
    if experiment.skipped:
        text += f"; {len(experiment.skipped)} unusable entries skipped"
    return text


def machine(experiment: Experiment) -> str:
    """Return what it was measured on: "accelerator tcg, QEMU version 10.0.2, …, link 1000 Mbit/s, 100 µs one way"."""
    records = [record for record in experiment.records if record.valid] or list(experiment.records)
    links = [record.data["link"] for record in records if record.data.get("link")]
    # What a scenario says of real hosts' link made nothing so.
    asked = {} if any(is_found(link) for link in links) else _link(experiment.scenario["link"])
    link = {**asked, **_proof(links)}
    found = {**_by_interest(stated(records)), **_calibration(records), **link}
    return ", ".join(f"{title} {printable(str(value), 200)}" for title, value in found.items()) or "not stated"


def _calibration(records: Sequence[Record]) -> dict[str, str]:
    """Return the rates that the guest was brought to."""
    found = (record.data["calibration"] for record in records)
    rates = sorted({calibration["target_mb_per_s"] for calibration in found if calibration})
    return {"guest calibrated to": " and ".join(f"{rate:.3g} MB/s" for rate in rates)} if rates else {}


def _link(link: Mapping[str, Any]) -> dict[str, str]:
    forms = {"rate_mbit": "{:g} Mbit/s", "delay_us": "{:g} µs one way", "queue": "{} queue", "congestion_control": "{}"}
    parts = [form.format(link[key]) for key, form in forms.items() if link.get(key) is not None]
    return {"link": ", ".join(parts)} if parts else {}


def _proof(links: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what the link did when it was last proved or, on real hosts, found."""
    proofs = [{**link["proof"], "mtu": link.get("mtu")} for link in links if link["proof"]]
    forms = {
        "mtu": "MTU {}",
        "ping_us": "{:.0f} µs for 16 bytes",
        "page_us": "{:.0f} µs for a page",
        "bulk_mbit_per_s": "{:.0f} Mbit/s for a stream",
    }
    last: Mapping[str, Any] = max(proofs, key=lambda proof: str(proof["proved_at"]), default={})
    parts = [form.format(last[key]) for key, form in forms.items() if last.get(key) is not None]
    title = "link as found" if any(is_found(link) for link in links) else "as proved"
    return {title: ", ".join(parts)} if parts else {}


def _by_interest(facts: Mapping[str, str]) -> dict[str, str]:
    first = ("accelerator", "QEMU version", "kernel", "CPU model", "number of CPUs")
    rest = (each for each in facts if each not in (*first, "name"))  # the hosts' names say nothing about the machine
    return {title: facts[title] for title in (*first, *rest) if title in facts}


def amount(mean: Mean | None) -> str:
    """Return a mean with its 95 % interval as "306 [300, 312]", or "-"."""
    if mean is None:
        return "-"
    ends = "" if mean.low is None or mean.high is None else f" [{figure(mean.low)}, {figure(mean.high)}]"
    return figure(mean.mean) + ends


def figure(value: float) -> str:
    """Return an amount with three digits, or all of its whole ones."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def interval(estimate: Estimate) -> str:
    """Return the interval as "[-1.0, 2.5]", or "-" where there is none."""
    return "-" if estimate.low is None or estimate.high is None else f"[{estimate.low:+.1f}, {estimate.high:+.1f}]"


def percent(estimate: Estimate, digits: int = 1) -> str:
    """Return the improvement with its sign, or "-" where there is none."""
    return "-" if estimate.pct is None else f"{estimate.pct:+.{digits}f}"


def aligned(rows: Sequence[Sequence[str]], texts: Collection[int]) -> list[str]:
    """Return ``rows`` as lines of aligned columns; those in ``texts`` are aligned to the left, numbers to the right."""
    sides = ["left" if column in texts else "right" for column in range(len(rows[0]))]
    table: str = tabulate(rows, tablefmt="plain", colalign=sides, disable_numparse=True, preserve_whitespace=True)
    return [line.rstrip() for line in table.splitlines()]


def missing_lines(cells: tuple[Cell, ...]) -> list[str]:
    """Return the missing trials, one line per workload and method."""
    repeats: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        repeats.setdefault((cell.workload, cell.method), []).append(str(cell.repeat))
    return [
        f"{workload}, {method}: repeat{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
        for (workload, method), numbers in repeats.items()
    ]


def notes(experiment: Experiment, table: Table3 | None) -> list[str]:
    """Return what a reader of Table 3 must know to judge it."""
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
    if pairs := sorted({record.pair for record in experiment.records if record.pair is not None}):
        found.append(
            f"The pairs of hosts are {printable(', '.join(pairs), 500)}. Each is a block: within a workload, pairs have"
            " equal weight, and repeats are compared with others of their pair."
        )
    remarks = experiment.experiment["provenance"].get("remarks")
    if isinstance(remarks, list):
        found += [printable(str(remark), 1000) for remark in remarks]
    if table is not None:
        found += _coverage(experiment, table)
    return found


def _coverage(experiment: Experiment, table: Table3) -> list[str]:
    """Return the cells that rest on single trials or on some of the workloads only."""
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
                found.append(f"{what}: no value: no workload has a valid measurement of both methods.")
            elif cell.baseline.low is None:
                found.append(
                    f"{what}: no interval: some workload has a single valid trial, or post-copy scatters too much."
                )
            left_out = sorted(measured - set(cell.workloads))
            if cell.workloads and left_out:
                found.append(f"{what}: without {', '.join(left_out)}, where one side has no valid measurement.")
    return found


_BEST = {
    "downtime": "Shortest downtime",
    "total_migration_time": "Shortest total migration time",
    "pages_transferred": "Fewest page requests",
    "throughput": "Highest throughput",
}


def best_lines(leaders: Sequence[Leader]) -> list[str]:
    """Return which method is best in each metric, and how sure that is."""
    return [f"{_BEST[leader.metric.name]}: {_best(leader)}." for leader in leaders]


def _best(leader: Leader) -> str:
    if not leader.behind:
        text = f"no method is shown to be best; the mean of {leader.method} is {_mean(leader)}"
    else:
        text = f"{leader.method}, {_mean(leader)}, ahead of {', '.join(leader.behind)}"
        text += f"; not told apart from it: {', '.join(leader.tied)}" if leader.tied else ""
    if leader.unknown:
        text += f"; too few valid trials to say anything of {', '.join(leader.unknown)}"
    return text + "".join(
        f"; with {workload} alone, {method} is ahead of it" for workload, method in leader.elsewhere.items()
    )


def _mean(leader: Leader) -> str:
    unit = "" if leader.metric.name == "pages_transferred" else f" {leader.metric.unit}"
    return f"{amount(leader.mean)}{unit}"


_VERBS = {"improvement": "improves", "worse": "worsens", "no difference shown": "shows no difference in"}


def verdict_sentences(table: Table3) -> list[str]:
    """Return one sentence per method, in the baseline convention, with the 95 % interval of every value."""
    return [_sentence(row, table.baseline) for row in table.rows]


def lost_lines(table: Table3) -> list[str]:
    """Return which methods lost trials, since the means beside it look better for that."""
    counts = {table.baseline: table.baseline_lost} | {row.method: row.lost for row in table.rows}
    return [
        f"{count} trial{'s' if count > 1 else ''} of {method} did not end inside the observation window; the means are"
        " over the others, and too good."
        for method, count in counts.items()
        if count
    ]


def warned(warnings: Sequence[object]) -> list[str]:
    """Return that there are warnings, for the place where the verdict stands."""
    if not warnings:
        return []
    count = "1 warning weakens" if len(warnings) == 1 else f"{len(warnings)} warnings weaken"
    return [f"{count} this verdict; see below."]


def contradictions(table: Table3) -> list[str]:
    """Return the cells whose whole interval and the published value lie on opposite sides of 0.

    Both are in the paper's convention.
    """
    found = []
    for row in table.rows:
        for metric in METRICS:
            estimate, paper = row.cells[metric.name].paper, published(row.paper, metric.name)
            if paper is None:
                continue
            value = float(paper)
            if (estimate.verdict == "improvement" and value < 0) or (estimate.verdict == "worse" and value > 0):
                found.append(f"{metric.title} of {row.method}: measured {_signed(estimate)}, published {value:+g} %.")
    return found


def _sentence(row: Row, baseline: str) -> str:
    kinds: dict[str, list[str]] = {}
    for metric in METRICS:
        estimate, title = row.cells[metric.name].baseline, metric.title.lower()
        if estimate.pct is None:
            kinds.setdefault("has no value for", []).append(title)
        elif estimate.verdict is None:
            kinds.setdefault("has no interval, so no verdict, for", []).append(f"{title} ({estimate.pct:+.1f} %)")
        elif estimate.verdict == "no difference shown":
            kinds.setdefault(_VERBS[estimate.verdict], []).append(f"{title} ({_signed(estimate)})")
        else:
            kinds.setdefault(_VERBS[estimate.verdict], []).append(f"{title} by {_sized(estimate)}")
    order = (*_VERBS.values(), "has no interval, so no verdict, for", "has no value for")
    parts = [f"{verb} {', '.join(kinds[verb])}" for verb in order if verb in kinds]
    return f"Against {baseline}, {row.method} {'; it '.join(parts)}."


def _signed(estimate: Estimate) -> str:
    return f"{estimate.pct:+.1f} % [{estimate.low:+.1f}, {estimate.high:+.1f}]"


def _sized(estimate: Estimate) -> str:
    """Return the size of a change whose direction the verb gives: "5.6 % [0.9, 10.5]"."""
    assert estimate.pct is not None and estimate.low is not None and estimate.high is not None
    ends = sorted((abs(estimate.low), abs(estimate.high)))
    return f"{abs(estimate.pct):.1f} % [{ends[0]:.1f}, {ends[1]:.1f}]"
