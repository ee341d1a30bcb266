# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What hosts are, and which methods each could be the destination of, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...module_utils._method import Method
from .schema import known_methods

_HEAD = ("host", "system", "kernel", "processors", "accelerator", "QEMU", "libvirt", "methods")
_UNKNOWN = "?"


def host_table(hosts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table with a line per host, and below it why a host is no destination for a known method.

    :param hosts: name -> what vcsp.testbed.testbed_info returned; what is missing or null is shown as "?"
    """
    rows: list[tuple[str, ...]] = [_HEAD]
    notes: list[str] = []
    methods = {name: Method.of({**settings, "name": name}) for name, settings in known_methods().items()}
    for name, host in hosts.items():
        reasons: dict[str, list[str]] = {}
        for method, settings in methods.items():
            for reason in _lacks(host, settings):
                reasons.setdefault(reason, []).append(method)
        impossible = {method for each in reasons.values() for method in each}
        rows.append((name, *_facts(host), f"{len(methods) - len(impossible)} of {len(methods)}"))
        notes += [f"{name}: {reason}, so no {', '.join(each)}" for reason, each in reasons.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *notes])


def _lacks(host: Mapping[str, Any], method: Method) -> Iterator[str]:
    """Yield what a destination lacks for a method, with the reason that was found."""

    def because(part: str) -> str:
        reason = (host.get(part) or {}).get("reason")
        return f" ({reason})" if reason else ""

    if not (host.get("qemu") or {}).get("postcopy_preempt") and method.holds_push:
        yield "its QEMU has no postcopy-preempt"
    if not (host.get("userfaultfd") or {}).get("usable"):
        yield f"userfaultfd cannot be used{because('userfaultfd')}"
    if not (host.get("ebpf") or {}).get("usable") and method.prefetches:
        yield f"the prefetch program cannot be loaded{because('ebpf')}"
    if not (host.get("cgroup") or {}).get("cpu") and method.throttles:
        yield f"there is no cgroup CPU controller{because('cgroup')}"


def _facts(host: Mapping[str, Any]) -> tuple[str, ...]:
    cpu = host.get("cpu") or {}
    processors = f"{cpu['count']} x {cpu['model'] or _UNKNOWN}" if cpu.get("count") else _UNKNOWN
    found = host.get("accelerator") or {}
    accelerator = (
        str(found.get("name") or _UNKNOWN).upper() if "not tried" not in str(found.get("reason")) else "not tried"
    )
    versions = (str((host.get(part) or {}).get("version") or "none") for part in ("qemu", "libvirt"))
    return (
        str(host.get("distribution") or _UNKNOWN),
        str(host.get("kernel") or _UNKNOWN),
        processors,
        accelerator,
        *versions,
    )
