# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host is, as far as results depend on it: hosts that differ in one of these are never pooled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .printable import printable

HOSTS = ("source", "destination")
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Trait:
    """A property of a host that must not vary.

    :ivar factor: what a user may allow to vary
    :ivar path: where the provenance of a record has it
    :ivar of_one: whether it belongs to one host alone, so that pairs of the same kind differ in it
    :ivar of_stack: whether it is software, so that stacks differ in it
    """

    factor: str
    title: str
    path: tuple[str, ...]
    of_one: bool = False
    of_stack: bool = False

    def of(self, host: Any) -> str:
        """Return its value of a host, as the provenance describes that; `NOT_STATED` where it does not."""
        for key in self.path:
            host = host.get(key) if isinstance(host, Mapping) else None
        return NOT_STATED if host is None else str(host)


TRAITS = (
    Trait("host", "name", ("hostname",), of_one=True),
    Trait("host", "CPU model", ("cpu", "model")),
    Trait("host", "number of CPUs", ("cpu", "count")),
    Trait("accelerator", "accelerator", ("accelerator", "name")),
    Trait("qemu", "QEMU version", ("qemu", "version"), of_stack=True),
    Trait("libvirt", "libvirt version", ("libvirt", "version"), of_stack=True),
    Trait("kernel", "kernel", ("kernel",), of_stack=True),
)
# The kernel's own, which namespaces and containers share.
_BOOT = Trait("host", "boot", ("boot_id",))


def unlike(pairs: Mapping[str, Mapping[str, Any]], stacks: Mapping[str, str] | None = None) -> list[str]:
    """Return in what the hosts of pairs differ, each as ``<trait> of the <host>: <value> (<pairs>), ...``.

    :param pairs: name -> provenance of the ``source`` and the ``destination``
    :param stacks: name -> stack; pairs of two stacks may differ in their software
    """
    found = []
    for host in HOSTS:
        for trait in (trait for trait in TRAITS if not trait.of_one):
            groups: dict[str | None, dict[str, list[str]]] = {}
            for name, hosts in pairs.items():
                stack = (stacks or {}).get(name) if trait.of_stack else None
                groups.setdefault(stack, {}).setdefault(trait.of(hosts.get(host)), []).append(name)
            for alike in groups.values():
                if len(alike) > 1:
                    values = ", ".join(f"{value} ({', '.join(names)})" for value, names in alike.items())
                    found.append(printable(f"{trait.title} of the {host}: {values}", 500))
    return found


def same_software(pairs: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether all pairs have the same software.

    :param pairs: name -> provenance of the ``source`` and the ``destination``
    """
    return all(
        len({trait.of(hosts.get(host)) for hosts in pairs.values()}) < 2
        for host in HOSTS
        for trait in TRAITS
        if trait.of_stack
    )


def shared_machines(pairs: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return the names of pairs that have a host on the same machine, a list for each machine.

    :param pairs: name -> provenance of the ``source`` and the ``destination``
    """
    machines: dict[str, list[str]] = {}
    for name, hosts in pairs.items():
        for boot_id in {_BOOT.of(hosts.get(host)) for host in HOSTS} - {NOT_STATED}:
            machines.setdefault(boot_id, []).append(name)
    return [names for names in machines.values() if len(names) > 1]
