# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The XML of guests that wait for a migration, and its way back."""

from __future__ import annotations

from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils._host import domain
from ansible_collections.vcsp.testbed.plugins.module_utils._host.domain import (
    QEMU_NAMESPACE,
    incoming_xml,
    without_incoming,
)

ARGUMENT = f"{{{QEMU_NAMESPACE}}}commandline/{{{QEMU_NAMESPACE}}}arg"


def guest(*arguments: str, name: str = "web1") -> str:
    root = ElementTree.Element("domain", {"type": "kvm"})
    ElementTree.SubElement(root, "name").text = name
    ElementTree.SubElement(ElementTree.SubElement(root, "devices"), "emulator").text = "/usr/bin/qemu-system-x86_64"
    if arguments:
        command_line = ElementTree.SubElement(root, f"{{{QEMU_NAMESPACE}}}commandline")
        for argument in arguments:
            ElementTree.SubElement(command_line, f"{{{QEMU_NAMESPACE}}}arg", {"value": argument})
    return ElementTree.tostring(root, encoding="unicode")


def arguments_of(xml: str) -> list[str]:
    return [argument.attrib["value"] for argument in ElementTree.fromstring(xml).iterfind(ARGUMENT)]


def same(one: str, other: str) -> bool:
    return ElementTree.canonicalize(one) == ElementTree.canonicalize(other)


@pytest.mark.parametrize("own", [[], ["-device", "pvpanic"]])
def test_an_incoming_guest_waits_and_is_otherwise_unchanged(own: list[str]) -> None:
    waiting = incoming_xml(guest(*own))
    assert arguments_of(waiting) == [*own, "-incoming", "defer"]
    assert same(without_incoming(waiting), guest(*own))


def test_a_guest_that_was_migrated_before_waits_only_once() -> None:
    waiting = incoming_xml(guest())
    assert same(incoming_xml(waiting), waiting)
    assert arguments_of(incoming_xml(guest("-incoming", "tcp:192.0.2.1:4444", "-s"))) == ["-s", "-incoming", "defer"]


def test_an_incoming_guest_does_not_bear_the_sources_notes() -> None:
    ours = "https://github.com/vcsp/testbed"
    source = (
        "<domain><name>web1</name><metadata>"
        f'<vcsp:guest xmlns:vcsp="{ours}/guest/1"/><vcsp:throttled xmlns:vcsp="{ours}/quota/1" period="1" quota="2"/>'
        f'<vcsp:migration xmlns:vcsp="{ours}/migration/1">the source</vcsp:migration><other:thing xmlns:other="x"/>'
        "</metadata></domain>"
    )
    metadata = ElementTree.fromstring(incoming_xml(source)).find("metadata")
    assert metadata is not None
    assert [element.tag for element in metadata] == [f"{{{ours}/guest/1}}guest", "{x}thing"]


def test_a_guest_that_does_not_wait_is_unchanged() -> None:
    assert same(without_incoming(guest("-device", "pvpanic")), guest("-device", "pvpanic"))
    assert same(without_incoming(guest()), guest())


def test_the_namespace_prefix_is_the_one_libvirt_expects() -> None:
    assert "<qemu:arg value=" in incoming_xml(guest())


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\ufffe\uffff")))
def test_no_name_escapes_its_element(name: str) -> None:
    hostile = name + "</name><devices/><name>&"
    root = ElementTree.fromstring(incoming_xml(guest(name=hostile)))
    assert root.findtext("name") == hostile
    assert [child.tag for child in root] == ["name", "devices", f"{{{QEMU_NAMESPACE}}}commandline"]


def test_a_guest_that_cannot_be_destroyed_now_is_not_taken_for_gone(
    libvirt: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain.time, "sleep", lambda _time_s: None)
    alive = [True, True, False]

    class Busy:
        attempts = 0

        def destroy(self) -> None:
            self.attempts += 1
            raise libvirt.libvirtError(libvirt.VIR_ERR_OPERATION_INVALID)

        def isActive(self) -> bool:  # noqa: N802 - libvirt's name
            return alive.pop(0)

    busy = Busy()
    domain.destroy(busy)
    assert busy.attempts == 3
