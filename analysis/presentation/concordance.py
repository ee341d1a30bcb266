# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two machines held against each other, as text and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict

from ..concordance import NEGLIGIBLE_POINTS, Concordance, Pair
from ..statistics.metrics import TITLES
from .comparison import identity, label
from .wording import aligned, interval, percent

_HEAD = ("method", "metric", "first", "95 % interval", "second", "95 % interval", "difference", "", "finding")


def concordance_text(concordance: Concordance) -> str:
    """Return it for a terminal."""
    lines = [
        f"first:  {label(concordance.first)}",
        f"second: {label(concordance.second)}",
        *(f"differs: {text}" for text in concordance.unlike),
        *(f"note: {text}" for text in concordance.notes),
    ]
    if concordance.pairs:
        lines += ["", "improvement over post-copy in %, over all workloads; the difference in points", ""]
        lines += aligned([_HEAD, *map(_fields, concordance.pairs)], texts={0, 1, len(_HEAD) - 1})
    counts = [f"{n} {kind}" for kind in _KINDS if (n := sum(pair.agreement == kind for pair in concordance.pairs))]
    lines += ["", f"{concordance.outcome[0]}: {', '.join(counts) or 'nothing was compared'}"]
    lines += [f"  {obstacle}" for obstacle in concordance.obstacles]
    return "\n".join(lines)


def concordance_json(concordance: Concordance) -> str:
    """Return it as JSON; ``schema_version`` is that of this format, null is missing."""
    document = {
        "schema_version": 1,
        "first": identity(concordance.first),
        "second": identity(concordance.second),
        "outcome": concordance.outcome[0],
        "exit_status": concordance.outcome[1],
        "negligible_points": NEGLIGIBLE_POINTS,
        "obstacles": concordance.obstacles,
        "unlike": concordance.unlike,
        "notes": concordance.notes,
        "pairs": [asdict(pair) for pair in concordance.pairs],
    }
    return json.dumps(document, indent=2, allow_nan=False)


_KINDS = ("agree", "compatible", "contradict", "differ", "too few trials")
FORMATS: Mapping[str, Callable[[Concordance], str]] = {"text": concordance_text, "json": concordance_json}


def _fields(pair: Pair) -> tuple[str, ...]:
    difference = "-" if pair.difference is None else f"{pair.difference:+.1f}"
    ends = "-" if pair.low is None or pair.high is None else f"[{pair.low:+.1f}, {pair.high:+.1f}]"
    sides = (text for side in (pair.first, pair.second) for text in (percent(side), interval(side)))
    return pair.method, TITLES[pair.metric], *sides, difference, ends, pair.agreement
