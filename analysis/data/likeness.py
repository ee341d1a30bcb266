# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether trials may be pooled: whether they come from the same hosts, QEMU, libvirt and kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...plugins.plugin_utils._records.printable import printable
from ...plugins.plugin_utils._records.records import Record
from ...plugins.plugin_utils._records.traits import HOSTS, NOT_STATED, TRAITS

# What may be allowed to differ between two experiments that are compared.
ALLOWABLE = ("scenario", *dict.fromkeys(trait.factor for trait in TRAITS))


@dataclass(frozen=True)
class Difference:
    """A trait that trials do not share; all texts are printable.

    :ivar what: such as "kernel of the destination"
    :ivar values: value -> number of trials; one that a record lacks is `NOT_STATED`, and differs from any other
    """

    factor: str
    what: str
    values: Mapping[str, int]

    def __str__(self) -> str:
        found = ", ".join(
            f"{value} ({count} {'trial' if count == 1 else 'trials'})" for value, count in self.values.items()
        )
        return f"{self.what}: {found}"


def differences(records: Iterable[Record]) -> tuple[Difference, ...]:
    """Return how the hosts of ``records`` differ; empty if the trials may be pooled.

    Each pair has hosts of its own, which are alike in all but their names, and each stack software of its own.
    """
    return _differences(list(records), within=True)


def _differences(records: Sequence[Record], within: bool) -> tuple[Difference, ...]:
    """Return how the hosts differ: with ``within``, those of a pair in their names, those of a stack in software."""
    found = []
    for host in HOSTS:
        for trait in TRAITS:
            alike: dict[str | None, Counter[str]] = {}
            for record in records:
                own = record.pair if trait.of_one else record.stack if trait.of_stack else None
                counts = alike.setdefault(own if within else None, Counter())
                counts[trait.of(record.data["provenance"][host])] += 1
            for counts in alike.values():
                if len(counts) > 1:
                    values = {printable(value, 100): count for value, count in counts.most_common()}
                    found.append(Difference(trait.factor, f"{trait.title} of the {host}", values))
    return tuple(found)


def stated(records: Sequence[Record]) -> dict[str, str]:
    """Return what the hosts of ``records`` are: the title of each trait -> its values, printable."""
    found = {}
    for trait in TRAITS:
        values = []
        for host in HOSTS:
            of_host = dict.fromkeys(trait.of(record.data["provenance"][host]) for record in records)
            values.append(printable(" or ".join(of_host), 200))
        if set(values) - {NOT_STATED, ""}:
            source, destination = values
            found[trait.title] = source if source == destination else f"{source} (source), {destination} (destination)"
    return found


def changes(left: Sequence[Record], right: Sequence[Record]) -> tuple[Difference, ...]:
    """Return how the hosts of ``right`` differ from those of ``left``, pair by pair; each side's own must be alike."""
    before, after = ({record.pair: record for record in reversed(records)} for records in (left, right))
    if before.keys() != after.keys():  # none of the hosts is known to be the same
        return _differences([*left[:1], *right[:1]], within=False)
    found = [each for pair in before for each in differences([before[pair], after[pair]])]
    return tuple({each.what: each for each in found}.values())
