# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Helpers for libvirt domains: XML of an incoming guest, notes in metadata, lookup by name, reliable destruction."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

from .._libvirt import libvirt

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
ElementTree.register_namespace("qemu", QEMU_NAMESPACE)
_QEMU = f"{{{QEMU_NAMESPACE}}}"  # before a tag
# Namespaces of what a call notes in a domain's metadata about the QEMU behind it, which another QEMU must not inherit.
QUOTA_NOTE = "https://github.com/vcsp/testbed/quota/1"
MIGRATION_NOTE = "https://github.com/vcsp/testbed/migration/1"
# Id of the monitor that a guest has only for its migration (oob.py).
OUT_OF_BAND = "vcsp-oob-monitor"


def incoming_xml(source_xml: str, *arguments: str) -> str:
    """The guest's XML, changed to wait for an incoming migration (``-incoming defer``), without the source's notes.

    :param arguments: of QEMU's, further ones for the migration.
    """
    root = ElementTree.fromstring(without_incoming(source_xml))
    for metadata in root.findall("metadata"):
        for element in list(metadata):
            if element.tag.startswith((f"{{{QUOTA_NOTE}}}", f"{{{MIGRATION_NOTE}}}")):
                metadata.remove(element)
    command_line = root.find(f"{_QEMU}commandline")
    if command_line is None:
        command_line = ElementTree.SubElement(root, f"{_QEMU}commandline")
    for value in ("-incoming", "defer", *arguments):
        ElementTree.SubElement(command_line, f"{_QEMU}arg", {"value": value})
    return ElementTree.tostring(root, encoding="unicode")


def is_incoming(xml: str) -> bool:
    """Whether a guest was started to wait for a migration, as with ``incoming_xml``."""
    arguments = ElementTree.fromstring(xml).iterfind(f"./{_QEMU}commandline/{_QEMU}arg")
    return "-incoming" in [argument.get("value") for argument in arguments]


def runs_under_kvm(xml: str) -> bool:
    """Whether KVM runs the guest, and not QEMU's emulator."""
    return ElementTree.fromstring(xml).get("type") == "kvm"


def without_incoming(xml: str) -> str:
    """The XML without what an earlier migration added, which would keep the guest from starting."""
    root = ElementTree.fromstring(xml)
    command_line = root.find(f"{_QEMU}commandline")
    if command_line is not None:
        arguments = list(command_line)
        for option, value in zip(arguments, [*arguments[1:], None], strict=True):
            ours = value is not None and OUT_OF_BAND in value.get("value", "")
            if option.get("value") == "-incoming" or ours:
                for stale in (option, value):
                    if stale is not None:
                        command_line.remove(stale)
        if not len(command_line):
            root.remove(command_line)
    return ElementTree.tostring(root, encoding="unicode")


def read_note(domain: Any, namespace: str) -> ElementTree.Element | None:
    """The note of that namespace in a running domain's metadata; None if there is none.

    :raises libvirt.libvirtError: the guest is gone, or libvirt cannot answer.
    """
    try:
        text = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, namespace, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            return None
        raise
    return ElementTree.fromstring(text)


def write_note(domain: Any, namespace: str, note: ElementTree.Element | None) -> None:
    """Write the note of that namespace, in place of an older one; None removes it.

    :raises libvirt.libvirtError: the guest is gone, or libvirt cannot answer.
    """
    text = None if note is None else ElementTree.tostring(note, encoding="unicode")
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, "vcsp", namespace, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def find(connection: Any, name: str) -> Any | None:
    """The domain of that name, or None."""
    try:
        return connection.lookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def is_gone(error: Any, look_up: Callable[[], Any]) -> bool:
    """Whether an error of libvirt's means that the guest's QEMU has ended.

    An invalid operation can mean anything, so libvirt is asked again.
    """
    code = error.get_error_code()
    if code != libvirt.VIR_ERR_OPERATION_INVALID:
        return bool(code == libvirt.VIR_ERR_NO_DOMAIN)
    try:
        return not look_up().isActive()
    except libvirt.libvirtError as again:
        return bool(again.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN)


def destroy(domain: Any, timeout_s: float = 30) -> None:
    """End a guest's QEMU, if it has not ended by itself.

    :raises TimeoutError: QEMU does not exit, e.g. because it hangs in the kernel.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            domain.destroy()
            return
        except libvirt.libvirtError as error:
            if is_gone(error, lambda: domain):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"the guest {domain.name()} cannot be destroyed: {error}") from error
            time.sleep(0.2)
