# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How long the guest's program took for a page, one visit after the other: what an application felt, not a mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .._guest.telemetry import Times

QUANTILES = {"p50_us": 0.5, "p99_us": 0.99, "p99_9_us": 0.999}


def visit_times(times: Sequence[Times], begin_s: float, end_s: float) -> dict[str, Any]:
    """Summarise the visits between two times, of which the guest reports every 100 ms.

    :param times: the reports in order of arrival; ``begin_s`` and ``end_s`` are on the clock of their ``time_s``
    :returns: ``visits`` (a number), the quantiles of QUANTILES in us, ``longest_ms`` and ``histogram`` (visits by the
        power of two that their time in ns reached); empty if there is no report on both sides
    """
    before = [one for one in times if one.time_s <= begin_s]
    within = [one for one in times if begin_s < one.time_s <= end_s]
    if not before or not within:
        return {}
    first, last = before[-1].counts, within[-1].counts
    counts = {bit: count for bit in sorted(last) if (count := last[bit] - first.get(bit, 0)) > 0}
    if not counts:
        return {}
    return {
        "visits": sum(counts.values()),
        **{name: quantile(counts, share) / 1e3 for name, share in QUANTILES.items()},
        "longest_ms": max(one.longest_ms for one in within),
        "histogram": {str(bit): count for bit, count in counts.items()},
    }


def quantile(counts: Mapping[int, int], share: float) -> float:
    """Return the time that ``share`` of the events did not exceed, exact to a factor of two.

    Within a power of two the events are taken to be spread evenly on a logarithmic scale.

    :param counts: events by the power of two that their time reached, of which at least one is not 0
    :returns: in the unit of those powers
    """
    wanted, seen = share * sum(counts.values()), 0
    for bit, count in sorted(counts.items()):
        if count and seen + count >= wanted:
            return float(2 ** (bit + (wanted - seen) / count))
        seen += count
    raise ValueError("there are no events")
