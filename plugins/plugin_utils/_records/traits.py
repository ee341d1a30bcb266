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
    """

    factor: str
    title: str
    path: tuple[str, ...]
    of_one: bool = False

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
    Trait("qemu", "QEMU version", ("qemu", "version")),
    Trait("libvirt", "libvirt version", ("libvirt", "version")),
    Trait("kernel", "kernel", ("kernel",)),
)
# The kernel's own, which namespaces and containers share.
_BOOT = Trait("host", "boot", ("boot_id",))


def unlike(pairs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return in what the hosts of pairs differ, each as ``<trait> of the <host>: <value> (<pairs>), ...``.

    :param pairs: name -> provenance of the ``source`` and the ``destination``
    """
    found = []
    for host in HOSTS:
        for trait in TRAITS:
            alike: dict[str, list[str]] = {}
            for name, hosts in pairs.items():
                alike.setdefault(trait.of(hosts.get(host)), []).append(name)
            if len(alike) > 1 and not trait.of_one:
                values = ", ".join(f"{value} ({', '.join(names)})" for value, names in alike.items())
                found.append(printable(f"{trait.title} of the {host}: {values}", 500))
    return found


def shared_machines(pairs: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return the names of pairs that have a host on the same machine, a list for each machine.

    :param pairs: name -> provenance of the ``source`` and the ``destination``
    """
    machines: dict[str, list[str]] = {}
    for name, hosts in pairs.items():
        for boot_id in {_BOOT.of(hosts.get(host)) for host in HOSTS} - {NOT_STATED}:
            machines.setdefault(boot_id, []).append(name)
    return [names for names in machines.values() if len(names) > 1]
