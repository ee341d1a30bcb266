# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an experiment shows besides Table 3, as tables of text."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..statistics.agreement import INSTRUMENTS
from ..statistics.decomposition import PARTS, mean_losses, mean_parts
from ..statistics.interruptions import INTERRUPTIONS
from ..statistics.interval import Mean, means
from ..statistics.metrics import TITLES
from ..statistics.quality import ALPHA, LEAST_DRIFT_PERCENT
from ..summary import Summary
from .wording import amount, figure, interval, percent

_LOSSES = {
    "stall_loss_s": "stall loss (s)",
    "kernel_s": "kernel (s)",
    "slower_s": "slower (s)",
    "unexplained_s": "unexplained (s)",
    "slow_down_percent": "slow-down (%)",
}


@dataclass(frozen=True)
class Findings:
    """A table of text: its title, how to read it, its heading and its lines, each as long as the heading.

    :ivar keys: so many fields of a line say what it is of, the others are values
    :ivar terms: what titles in the heading mean, as title and definition
    """

    title: str
    explanation: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    keys: int = 2
    terms: tuple[tuple[str, str], ...] = ()


def findings(summary: Summary) -> tuple[Findings, ...]:
    """Return the tables that have lines."""
    tables = (
        _absolute(summary),
        _interruptions(summary),
        _effects(summary),
        _parts(summary),
        _agreement(summary),
        _self_checks(summary),
    )
    return tuple(table for table in tables if table.lines)


_ABSOLUTE = (
    ("downtime_ms", "downtime (ms)", 1),
    ("stop_and_copy_ms", "blackout (ms)", 1),
    ("total_migration_time_s", "total migration time (s)", 1),
    ("throughput_mb_per_s", "throughput (MB/s)", 1),
    ("page_requests", "page requests", 1),
    ("sent_kb", "MB sent", 1 / 1024),
)


def _absolute(summary: Summary) -> Findings:
    """Return what was measured, by workload and method."""
    by = ["workload", "method"]
    cells: dict[tuple[str, str], dict[str, str]] = {}
    counts: dict[tuple[str, str], int] = {}
    for column, title, factor in _ABSOLUTE:
        for row in means(summary.trials, by, column).to_dict("records"):
            ends = (None, None) if math.isnan(row["low"]) else (max(row["low"] * factor, 0.0), row["high"] * factor)
            key = (row["workload"], row["method"])
            cells.setdefault(key, {})[title] = amount(Mean(row["mean"] * factor, *ends))
            counts[key] = max(counts.get(key, 0), int(row["n"]))
    lost = summary.trials.groupby(by, sort=False)["lost"].sum().to_dict()
    titles = [title for _, title, _ in _ABSOLUTE]
    return Findings(
        "Absolute values",
        "Means of the valid trials with 95 % intervals (Student's t). lost: trials that did not end inside the"
        " observation window, and are in none of these means.",
        (*by, *titles, "n", "lost"),
        tuple(
            (*key, *(found.get(title, "-") for title in titles), str(counts[key]), str(lost.get(key, 0)))
            for key, found in cells.items()
        ),
    )


def _interruptions(summary: Summary) -> Findings:
    """Return how long the guest stood still at a time, by workload and method."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in summary.interruptions.to_dict("records"):
        text = f"{figure(row['median'])} / {figure(row['longest'])} ({row['n']})"
        cells.setdefault((row["workload"], row["method"]), {})[row["interruption"]] = text
    titles = [kind.title for kind in INTERRUPTIONS]
    return Findings(
        "How long the guest stood still at a time",
        "Median / longest of the valid trials (their number). The longest of a few trials says little about that of"
        " many.",
        ("workload", "method", *titles),
        tuple((*key, *(found.get(title, "-") for title in titles)) for key, found in cells.items()),
        terms=tuple((kind.title, kind.definition) for kind in INTERRUPTIONS),
    )


def _effects(summary: Summary) -> Findings:
    return Findings(
        "What quota and prefetching do",
        "Improvement in %. Effects multiply: a factor's effect is the geometric mean of the ratios with and without it,"
        " the interaction is what both do together beyond the product of the two.",
        ("metric", "effect", "improvement (%)", "95 % interval", "verdict", "n"),
        tuple(
            (
                TITLES[effect.metric],
                effect.factor,
                percent(effect.estimate),
                interval(effect.estimate),
                effect.estimate.verdict or "-",
                str(effect.n),
            )
            for effect in summary.effects
        ),
    )


def _parts(summary: Summary) -> Findings:
    losses = mean_losses(summary.parts).set_index(["workload", "method", "loss"])["mean"].to_dict()
    lines = []
    for (workload, method), rows in mean_parts(summary.parts).groupby(["workload", "method"], sort=False):
        cells = [f"{mean:.0f} ({share:.0f} %)" for mean, share in zip(rows["mean"], rows["share_percent"], strict=True)]
        for loss in _LOSSES:
            value = losses.get((workload, method, loss))
            cells.append("-" if value is None else f"{value:.2f}")
        lines.append((str(workload), str(method), *cells, str(rows["n"].iloc[0])))
    return Findings(
        "Where the time of a migration goes",
        "Means in ms for one virtual CPU, from its stop on the source to the last page, with service loss beside them.",
        ("workload", "method", *(_lower(part.title) for part in PARTS), *_LOSSES.values(), "n"),
        tuple(lines),
        terms=(
            *((_lower(part.title), part.definition) for part in PARTS),
            (
                "kernel and slower",
                "Time on a CPU, until the end of the observation window, beyond what the same work takes once the rate"
                " is steady; in the kernel it handles page faults, and outside of it an emulator translates the guest's"
                " code anew, and caches are cold.",
            ),
            ("unexplained", "What of the stall loss is none of these."),
        ),
    )


def _lower(title: str) -> str:
    return title[0].lower() + title[1:]


def _agreement(summary: Summary) -> Findings:
    return Findings(
        "Agreement of the instruments",
        "What another instrument read, divided by schedstat's page wait: 1 is agreement. The guest's stalls also"
        " include the time that a quota takes in the middle of one; QEMU's blocktime is shown but not trusted.",
        ("method", "instrument", "median", "least", "most", "n"),
        tuple(
            (
                str(row["method"]),
                INSTRUMENTS[row["instrument"]],
                *(f"{row[name]:.2f}" for name in ("median", "least", "most")),
                str(row["n"]),
            )
            for row in summary.agreement.to_dict("records")
        ),
    )


def _self_checks(summary: Summary) -> Findings:
    return Findings(
        "A method against itself",
        "Each repeat holds every workload with every method once, in random order, so repeats should differ by chance"
        f" alone. They drift if a p is below {ALPHA:g} and the range is at least {LEAST_DRIFT_PERCENT:g} %.",
        ("metric", "repeats", "late (%)", "range (%)", "p of repeats", "p of halves", "outliers", "result"),
        tuple(
            (
                TITLES[check.metric],
                str(check.repeats),
                f"{check.late_percent:+.1f}",
                f"{check.range_percent:.1f}",
                *("-" if p is None else f"{p:.2g}" for p in (check.p_blocks, check.p_halves)),
                str(len(check.outliers)),
                "drifts" if check.drifted else "outliers" if check.outliers else "alike",
            )
            for check in summary.self_checks
        ),
        keys=1,
        terms=(
            ("late", "The second half of the repeats against the first."),
            ("range", "The largest repeat against the smallest."),
            ("p of repeats", "Analysis of variance over all cells."),
            ("p of halves", "Each method's early repeats against its late ones, by Table 3's intervals."),
        ),
    )
