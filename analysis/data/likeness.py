# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether trials may be pooled: whether they come from the same hosts, QEMU, libvirt and kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...plugins.plugin_utils._records.printable import printable
from ...plugins.plugin_utils._records.records import Record

HOSTS = ("source", "destination")
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Trait:
    """A property of a host that must not vary.

    :ivar factor: what a user may allow to vary
    :ivar path: where a record's provenance has it
    """

    factor: str
    title: str
    path: tuple[str, ...]


TRAITS = (
    Trait("host", "name", ("hostname",)),
    Trait("host", "CPU model", ("cpu", "model")),
    Trait("host", "number of CPUs", ("cpu", "count")),
    Trait("accelerator", "accelerator", ("accelerator", "name")),
    Trait("qemu", "QEMU version", ("qemu", "version")),
    Trait("libvirt", "libvirt version", ("libvirt", "version")),
    Trait("kernel", "kernel", ("kernel",)),
)
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
    """Return how the hosts of ``records`` differ; empty if the trials may be pooled."""
    provenances = [record.data["provenance"] for record in records]
    found = []
    for host in HOSTS:
        for trait in TRAITS:
            counts = Counter(_value(provenance[host], trait.path) for provenance in provenances)
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
            of_host = dict.fromkeys(_value(record.data["provenance"][host], trait.path) for record in records)
            values.append(printable(" or ".join(of_host), 200))
        if set(values) - {NOT_STATED, ""}:
            source, destination = values
            found[trait.title] = source if source == destination else f"{source} (source), {destination} (destination)"
    return found


def changes(left: Sequence[Record], right: Sequence[Record]) -> tuple[Difference, ...]:
    """Return how the hosts of ``right`` differ from those of ``left``; each side's own trials must be alike."""
    return differences([*left[:1], *right[:1]])


def _value(provenance: Any, path: Sequence[str]) -> str:
    for key in path:
        provenance = provenance.get(key) if isinstance(provenance, Mapping) else None
    return NOT_STATED if provenance is None else str(provenance)
