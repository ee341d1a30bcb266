# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which domains can be migrated without libvirt's help."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._migration.fitness_domain import unfit

TEMPLATE = Path(__file__).parents[4] / "roles/guest/templates/domain.xml.j2"


def domain(devices: str = "", rest: str = "") -> str:
    return (
        "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
        f"<name>web1</name>{rest}<devices>{devices}</devices></domain>"
    )


def test_the_scenarios_guest_is_built_for_this() -> None:
    text = re.sub(r"{%.*?%}", "", TEMPLATE.read_text())
    text = re.sub(r"{{.*?}}", "x", text).replace("<cpu mode='host-model'/>", "")
    assert unfit(text, False, False) == []


@pytest.mark.parametrize(
    "xml",
    [
        domain(),
        domain("<disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>"),
        domain("<disk type='file' device='cdrom'><source file='/a.iso'/><target dev='sda'/></disk>"),
        domain("<interface type='user'><target dev='net0'/></interface>"),
        domain("<serial type='file'><source path='/var/log/x'/></serial><console type='pty'/><channel type='unix'/>"),
        domain("<input type='mouse' bus='ps2'/><graphics type='vnc'/><video><model type='vga'/></video>"),
        domain(rest="<os><loader type='rom'>/x.rom</loader></os>"),
        domain(rest="<memoryBacking><hugepages/></memoryBacking>"),
        domain(rest="<seclabel type='dynamic' model='dac' relabel='yes'/>"),
        domain(rest="<qemu:commandline><qemu:arg value='-global'/><qemu:arg value='a.b=off'/></qemu:commandline>"),
    ],
)
def test_what_is_qemus_alone_comes_along(xml: str) -> None:
    assert unfit(xml, False, False) == []


@pytest.mark.parametrize(
    ("xml", "found"),
    [
        (domain("<disk type='block'><source dev='/dev/x'/><target dev='vdb'/></disk>"), "writable disk vdb (/dev/x)"),
        (
            domain("<disk type='volume'><source pool='p' volume='v'/><target dev='vdb'/></disk>"),
            "writable disk vdb (v)",
        ),
        (domain("<disk device='floppy'><target dev='fda'/></disk>"), "writable disk fda"),
        (domain("<disk><target dev='vda'/><readonly/><transient/></disk>"), "transient disk vda"),
        (domain("<disk type='nvme'><target dev='vda'/><readonly/></disk>"), "host disk vda"),
        (domain("<interface type='network'><alias name='net0'/></interface>"), "network interface net0"),
        (domain("<interface type='ethernet'><target dev='tap1'/></interface>"), "network interface tap1"),
        (domain("<interface type='user'><backend type='passt'/></interface>"), "network interface"),
        (domain("<hostdev mode='subsystem' type='pci'><alias name='hostdev0'/></hostdev>"), "host device hostdev0"),
        (domain("<filesystem type='mount'><source dir='/srv'/></filesystem>"), "shared file system"),
        (domain("<tpm model='tpm-crb'/>"), "TPM"),
        (domain("<shmem name='s'/>"), "shared memory"),
        (domain("<lease/>"), "lease"),
        (domain("<something-new/>"), "something-new"),
        (domain("<serial type='dev'><source path='/dev/ttyS0'/></serial>"), "host device"),
        (domain("<memory model='nvdimm'><source><path>/x</path></source></memory>"), "memory in a file"),
        (domain(rest="<os><nvram>/x.fd</nvram></os>"), "firmware variables"),
        (domain(rest="<launchSecurity type='sev'/>"), "encrypted memory"),
        (domain(rest="<qemu:commandline><qemu:arg value='-drive'/></qemu:commandline>"), "QEMU's -drive"),
    ],
)
def test_what_needs_the_host_is_named(xml: str, found: str) -> None:
    assert unfit(xml, False, False) == [found]


def test_a_definition_stays_behind() -> None:
    assert unfit(domain(), True, False) == ["persistent definition"]
    assert unfit(domain(), True, True) == ["persistent definition, started with its host"]
