# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A note in the guest's metadata on both hosts: which call migrates it, and what that changes on the source's QEMU.

It is written before anything is changed, and outlives the call. The next one puts the settings back, whatever it is
for; a call on another host reads from it that the guest has an owner.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any
from xml.etree import ElementTree

from .._host import domain as domains
from .._host.qmp import Monitor
from . import encryption, fitness
from .owner import Owner


@dataclass(frozen=True)
class Note:
    """What is noted about one side's QEMU.

    :ivar owner: the call that wrote it.
    :ivar qemu: the QEMU that it is about; libvirt copies notes when it migrates or saves a guest.
    :ivar settings: the source's migration settings from before that call; None on the destination.
    """

    owner: Owner
    qemu: str | None = None
    settings: dict[str, Any] | None = None


def read(monitor: Monitor) -> Note | None:
    """The note on a side's guest; None if there is none.

    :raises GuestGone: there is no such guest.
    :raises ConnectionFailed: libvirt cannot answer now.
    """
    domain = monitor.domain
    with monitor.translated():
        element = domains.read_note(domain, domains.MIGRATION_NOTE)
    if element is None:
        return None
    values = json.loads(element.text or "")
    return Note(**{**values, "owner": Owner(**values["owner"])})


def claim(source: Monitor, owner: Owner) -> None:
    """Note who migrates the source's guest from now on, and its settings, before they are changed."""
    settings = fitness.migration_settings(source)
    with source.translated():
        qemu = _qemu(source)
    _write(source, Note(owner, qemu, settings))


def sign(destination: Monitor, owner: Owner) -> None:
    """Note who migrates the guest to the destination."""
    _write(destination, Note(owner))


def changed(monitor: Monitor) -> bool:
    """Whether an earlier call left its settings in force on a side's QEMU."""
    note = read(monitor)
    return note is not None and _is_about(note, monitor)


def put_back(monitor: Monitor) -> bool:
    """Restore what the note on a side's guest says, and remove it; False if there was nothing to restore."""
    note = read(monitor)
    if note is None:
        return False
    encryption.withdraw(monitor)
    found = _is_about(note, monitor)
    if found and note.settings is not None:
        fitness.restore(monitor, note.settings)
    _write(monitor, None)
    return found


def _write(monitor: Monitor, note: Note | None) -> None:
    element = None
    if note is not None:
        element = ElementTree.Element("migration")
        element.text = json.dumps(asdict(note))
    domain = monitor.domain
    with monitor.translated():
        domains.write_note(domain, domains.MIGRATION_NOTE, element)


def _is_about(note: Note, monitor: Monitor) -> bool:
    with monitor.translated():
        return note.settings is not None and note.qemu == _qemu(monitor)


def _qemu(monitor: Monitor) -> str:
    """What no other QEMU has: libvirt's number of the running domain, on its host."""
    domain = monitor.domain
    return f"{monitor.host.connection().getHostname()}/{domain.ID()}"
