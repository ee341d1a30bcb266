# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The pairs of an inventory: the hosts between which guests move, and for which host a playbook does that."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

# A host for each pair, which is no machine: plays run for it, and delegate to the pair's source and destination.
GROUP = "pairs"
# What such a host says, and the group of the host that it names.
MEMBERS = {"testbed_source": "source_host", "testbed_destination": "destination_host"}
# The name of the software of its hosts, if pairs of unlike software are to be held against each other.
STACK = "testbed_stack"


@dataclass(frozen=True)
class Pair:
    """A source and a destination, by their names in the inventory.

    :ivar name: None where the inventory has one pair and does not name it
    :ivar runner: the host that plays run for
    """

    name: str | None
    runner: str
    source: str
    destination: str

    @property
    def hosts(self) -> tuple[str, str]:
        """The source and the destination."""
        return self.source, self.destination


def pairs(groups: Mapping[str, Collection[str]], variables: Mapping[str, Mapping[str, Any]]) -> tuple[Pair, ...]:
    """Return the pairs of an inventory; what one does not say is an empty name.

    :param groups: group -> its hosts
    :param variables: host -> its variables
    """
    named = groups.get(GROUP)
    if not named:
        return (Pair(None, "localhost", *(next(iter(groups[group])) for group in MEMBERS.values())),)
    return tuple(Pair(name, name, *(str(variables[name].get(each) or "") for each in MEMBERS)) for name in named)


def stacks(groups: Mapping[str, Collection[str]], variables: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the stack of each pair, by the pair's name and in their order; empty where there are not two to compare.

    :param groups: group -> its hosts
    :param variables: host -> its variables
    """
    found = {name: str(variables[name].get(STACK) or "") for name in groups.get(GROUP, ())}
    return {name: stack for name, stack in found.items() if stack} if len({*found.values()} - {""}) > 1 else {}


def pair_of(groups: Mapping[str, Collection[str]], variables: Mapping[str, Mapping[str, Any]], host: str) -> Pair:
    """Return the pair that ``host`` runs or belongs to; for a host that is of none, the first.

    :param groups: group -> its hosts
    :param variables: host -> its variables
    """
    found = pairs(groups, variables)
    return next((pair for pair in found if host in (pair.runner, *pair.hosts)), found[0])
