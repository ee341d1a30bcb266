# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an experiment shows besides Table 3, as tables of text."""

from __future__ import annotations

from dataclasses import dataclass

from ..statistics.agreement import INSTRUMENTS
from ..statistics.decomposition import PARTS, mean_losses, mean_parts
from ..statistics.metrics import TITLES
from ..summary import Summary
from .wording import interval, percent

_LOSSES = {"stall_loss_s": "stall loss (s)", "slow_down_percent": "slow-down (%)"}


@dataclass(frozen=True)
class Findings:
    """A table of text: its title, how to read it, its heading and its lines, each as long as the heading."""

    title: str
    explanation: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


def findings(summary: Summary) -> tuple[Findings, ...]:
    """Return the tables that have lines."""
    tables = (_effects(summary), _parts(summary), _agreement(summary), _self_checks(summary))
    return tuple(table for table in tables if table.lines)


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
        "Means in ms for one virtual CPU, from its stop on the source to the last page, with service loss beside them. "
        + " ".join(f"{part.title}: {part.definition}" for part in PARTS),
        ("workload", "method", *(part.title.lower() for part in PARTS), *_LOSSES.values(), "n"),
        tuple(lines),
    )


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
        "How often the intervals of Table 3 would show a difference where there is none; it should be near 5 % or less."
        " split: the repeats in random halves. scatter: too few to split, so their scatter is dealt out at random.",
        ("metric", "how", "repeats per side", "comparisons", "false differences (%)"),
        tuple(
            (
                TITLES[check.metric],
                check.how,
                str(check.repeats),
                str(check.comparisons),
                f"{check.false_percent:.1f}" + ("" if check.passed else " (too many)"),
            )
            for check in summary.self_checks
        ),
    )
