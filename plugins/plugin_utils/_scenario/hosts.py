# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What hosts are, and which methods each could be the destination of, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .preflight import as_destination
from .schema import known_methods

_HEAD = ("host", "system", "kernel", "processors", "accelerator", "QEMU", "libvirt", "methods")
_UNKNOWN = "?"


def host_table(hosts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table with a line per host, and below it why a host is no destination for a known method.

    :param hosts: name -> what vcsp.testbed.testbed_info returned; what is missing or null is shown as "?"
    """
    rows: list[tuple[str, ...]] = [_HEAD]
    notes: list[str] = []
    methods: list[Mapping[str, Any]] = [{**settings, "name": name} for name, settings in known_methods().items()]
    for name, host in hosts.items():
        able = sum(not as_destination(host, [method]) for method in methods)
        rows.append((name, *_facts(host), f"{able} of {len(methods)}"))
        notes += as_destination(host, methods)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *notes])


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
