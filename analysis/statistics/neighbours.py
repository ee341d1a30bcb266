# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether pairs that share a machine measured at the same time, and so each other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import combinations

from ...plugins.plugin_utils._records.records import Record
from ...plugins.plugin_utils._records.traits import shared_machines
from .quality import NoiseWarning


def neighbour_warnings(records: Sequence[Record]) -> tuple[NoiseWarning, ...]:
    """Return a warning for each two pairs of one machine whose valid trials overlapped."""
    by_pair: dict[str, list[Record]] = {}
    for record in records:
        if record.valid and record.pair is not None:
            by_pair.setdefault(record.pair, []).append(record)
    machines = shared_machines({name: own[0].data["provenance"] for name, own in by_pair.items()})
    neighbours = dict.fromkeys(both for names in machines for both in combinations(names, 2))
    found = []
    for one, other in neighbours:
        times = [times for record in by_pair[other] if (times := _times(record)) is not None]
        count = sum(_overlaps(_times(record), times) for record in by_pair[one])
        if count:
            problem = f"{count} trials of {one} ran on the machine of {other} while that measured"
            found.append(NoiseWarning(problem, "do not trust any size; let pairs of one machine take turns"))
    return tuple(found)


def _times(record: Record) -> tuple[datetime, datetime] | None:
    """Return when a trial began and ended; None if it does not say."""
    ends = record.data["started_at"], record.data["ended_at"]
    return None if None in ends else (datetime.fromisoformat(ends[0]), datetime.fromisoformat(ends[1]))


def _overlaps(own: tuple[datetime, datetime] | None, others: Sequence[tuple[datetime, datetime]]) -> bool:
    return own is not None and any(begin < own[1] and own[0] < end for begin, end in others)
