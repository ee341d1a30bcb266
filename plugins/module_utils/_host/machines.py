# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Machine types: what a guest's board is, which must be the same on both sides of a migration.

``pc`` is another one with each release of QEMU. A guest that moves between releases is given one by its whole name,
which later releases keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from .._libvirt import libvirt
from .calls import Calls, Unanswered

ALIAS = "pc"
KIND = "pc-i440fx-"


def machines(connection: Any | None) -> list[str]:
    """The machine types behind ``pc`` that a host has, the one that it means there first; empty if libvirt has none."""
    if connection is None:
        return []
    try:
        text = Calls().make("getCapabilities", connection.getCapabilities)
    except (libvirt.libvirtError, Unanswered):
        return []
    found = ElementTree.fromstring(text).findall("guest/arch[@name='x86_64']/machine")
    meant = [machine.get("canonical", "") for machine in found if machine.text == ALIAS]
    others = sorted(machine.text for machine in found if machine.text and machine.text.startswith(KIND))
    return list(dict.fromkeys([*meant[:1], *others])) if meant else []


def in_common(source: Sequence[str], destination: Sequence[str]) -> str | None:
    """The machine type for a guest of both hosts, each given as by :func:`machines`; None if there is none.

    It is what ``pc`` means on one of them, the source if possible, which as a rule is the older one.
    """
    return next((name for name in (*source[:1], *destination[:1]) if name in source and name in destination), None)
