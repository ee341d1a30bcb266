# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a report says first: what each method improves or worsens, and where the paper says otherwise."""

from __future__ import annotations

from ..statistics.estimate import Estimate
from ..statistics.metrics import METRICS
from ..statistics.published import published
from ..statistics.table3 import BASELINE, Row, Table3

_VERBS = {"improvement": "improves", "worse": "worsens", "no difference shown": "shows no difference in"}


def verdict_sentences(table: Table3) -> list[str]:
    """Return a sentence a method, in the baseline convention, with the 95 % interval of every value."""
    return [_sentence(row) for row in table.rows]


def contradictions(table: Table3) -> list[str]:
    """Name the cells whose whole interval lies on the other side of 0 than the published value.

    Both are in the paper's convention.
    """
    found = []
    for row in table.rows:
        for metric in METRICS:
            estimate, paper = row.cells[metric.name].paper, published(row.method, metric.name)
            if paper is None:
                continue
            value = float(paper)
            if (estimate.verdict == "improvement" and value < 0) or (estimate.verdict == "worse" and value > 0):
                found.append(f"{metric.title} of {row.method}: measured {_signed(estimate)}, published {value:+g} %.")
    return found


def _sentence(row: Row) -> str:
    kinds: dict[str, list[str]] = {}
    for metric in METRICS:
        estimate, title = row.cells[metric.name].baseline, metric.title.lower()
        if estimate.pct is None:
            kinds.setdefault("has no value of", []).append(title)
        elif estimate.verdict is None:
            kinds.setdefault("has no interval, so no verdict, of", []).append(f"{title} ({estimate.pct:+.1f} %)")
        elif estimate.verdict == "no difference shown":
            kinds.setdefault(_VERBS[estimate.verdict], []).append(f"{title} ({_signed(estimate)})")
        else:
            kinds.setdefault(_VERBS[estimate.verdict], []).append(f"{title} by {_sized(estimate)}")
    order = (*_VERBS.values(), "has no interval, so no verdict, of", "has no value of")
    parts = [f"{verb} {', '.join(kinds[verb])}" for verb in order if verb in kinds]
    return f"Against {BASELINE}, {row.method} {'; it '.join(parts)}."


def _signed(estimate: Estimate) -> str:
    return f"{estimate.pct:+.1f} % [{estimate.low:+.1f}, {estimate.high:+.1f}]"


def _sized(estimate: Estimate) -> str:
    """Say how large a change is that the verb already gives a direction: "5.6 % [0.9, 10.5]"."""
    assert estimate.pct is not None and estimate.low is not None and estimate.high is not None
    ends = sorted((abs(estimate.low), abs(estimate.high)))
    return f"{abs(estimate.pct):.1f} % [{ends[0]:.1f}, {ends[1]:.1f}]"
