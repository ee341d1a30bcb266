# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Helpers for libvirt domains: the XML of an incoming guest, lookup by name, reliable destruction."""

from __future__ import annotations

import time
from typing import Any
from xml.etree import ElementTree

from .._libvirt import libvirt

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
ElementTree.register_namespace("qemu", QEMU_NAMESPACE)
_QEMU = f"{{{QEMU_NAMESPACE}}}"  # before a tag


def incoming_xml(source_xml: str) -> str:
    """The guest's XML, changed to wait for an incoming migration (``-incoming defer``)."""
    root = ElementTree.fromstring(without_incoming(source_xml))
    command_line = root.find(f"{_QEMU}commandline")
    if command_line is None:
        command_line = ElementTree.SubElement(root, f"{_QEMU}commandline")
    for value in ("-incoming", "defer"):
        ElementTree.SubElement(command_line, f"{_QEMU}arg", {"value": value})
    return ElementTree.tostring(root, encoding="unicode")


def is_incoming(xml: str) -> bool:
    """Whether a guest was started to wait for a migration, as with ``incoming_xml``."""
    arguments = ElementTree.fromstring(xml).iterfind(f"./{_QEMU}commandline/{_QEMU}arg")
    return "-incoming" in [argument.get("value") for argument in arguments]


def without_incoming(xml: str) -> str:
    """The XML without the ``-incoming`` of an earlier migration, which would keep the guest from starting."""
    root = ElementTree.fromstring(xml)
    command_line = root.find(f"{_QEMU}commandline")
    if command_line is not None:
        arguments = list(command_line)
        for index, argument in enumerate(arguments):
            if argument.get("value") == "-incoming":
                for stale in arguments[index : index + 2]:
                    command_line.remove(stale)
        if not len(command_line):
            root.remove(command_line)
    return ElementTree.tostring(root, encoding="unicode")


def find(connection: Any, name: str) -> Any | None:
    """The domain of that name, or None."""
    try:
        return connection.lookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


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
            if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"the guest {domain.name()} cannot be destroyed: {error}") from error
            time.sleep(0.2)
