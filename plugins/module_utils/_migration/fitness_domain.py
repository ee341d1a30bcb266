# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of a domain does not come along when QMP alone migrates it, because libvirt or the host has a part in it."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from .._host.domain import QEMU_NAMESPACE

# Devices whose whole state is QEMU's. Of all others, and of these where UNFIT says so, a part is the host's.
PLAIN = {
    "audio", "channel", "console", "controller", "disk", "emulator", "graphics", "hub", "input", "interface", "iommu",
    "memballoon", "memory", "panic", "parallel", "redirdev", "rng", "serial", "sound", "video", "vsock", "watchdog",
}  # fmt: skip
NAMES = {"filesystem": "shared file system", "hostdev": "host device", "shmem": "shared memory", "tpm": "TPM"}
# Where a domain has what the other host lacks, and what that is.
UNFIT = (
    ("./devices/disk/transient/..", "transient disk"),
    ("./devices/disk[@device='lun']", "SCSI passthrough"),
    ("./devices/disk/source/reservations/../..", "persistent reservations"),
    ("./devices/disk[@type='nvme']", "host disk"),
    ("./devices/disk[@type='vhostuser']", "vhost-user disk"),
    ("./devices/disk[@type='vhostvdpa']", "vDPA disk"),
    ("./devices/interface/backend[@type='passt']/..", "network interface"),
    ("./devices/input[@type='passthrough']", "host input"),
    ("./devices/input[@type='evdev']", "host input"),
    ("./devices/video/driver[@name='vhostuser']/..", "vhost-user video"),
    ("./devices/memory/source/path/../..", "memory in a file"),
    ("./devices/rng/backend[@model='egd']/..", "random numbers from a server"),
    *((f"./devices/{kind}[@type='dev']", "host device") for kind in ("serial", "parallel", "console", "channel")),
    ("./os/nvram", "firmware variables"),
    ("./os/varstore", "firmware variables"),
    ("./launchSecurity", "encrypted memory"),
)
# Of <qemu:commandline>: what libvirt does not even know of.
ARGUMENTS = {
    "-blockdev", "-cdrom", "-drive", "-fda", "-fdb", "-fsdev", "-hda", "-hdb", "-hdc", "-hdd", "-net", "-netdev",
    "-nic", "-pflash", "-sd", "-tpmdev", "-virtfs",
}  # fmt: skip


def unfit(xml: str, persistent: bool, autostart: bool) -> list[str]:
    """All that would be lost, left behind or unsafe; empty for a guest that is built for this.

    >>> unfit("<domain><devices><tpm/></devices></domain>", True, False)
    ['TPM', 'persistent definition']
    """
    root = ElementTree.fromstring(xml)
    found = [*_disks(root), *_devices(root)]
    found += [_named(what, element) for path, what in UNFIT for element in root.findall(path)]
    arguments = root.iterfind(f"./{{{QEMU_NAMESPACE}}}commandline/{{{QEMU_NAMESPACE}}}arg")
    found += [f"QEMU's {argument.get('value')}" for argument in arguments if argument.get("value") in ARGUMENTS]
    if persistent:
        found.append("persistent definition" + (", started with its host" if autostart else ""))
    return list(dict.fromkeys(found))


def _disks(root: ElementTree.Element) -> Iterator[str]:
    for disk in root.iterfind("./devices/disk"):
        if disk.find("readonly") is None and disk.get("device") != "cdrom":
            yield _named("writable disk", disk)


def _devices(root: ElementTree.Element) -> Iterator[str]:
    for device in root.iterfind("./devices/*"):
        # User networking is QEMU's own; all others need libvirt to start them.
        if device.tag == "interface" and device.get("type") != "user":
            yield _named("network interface", device)
        elif device.tag not in PLAIN:
            yield _named(NAMES.get(device.tag, device.tag), device)


def _named(what: str, element: ElementTree.Element) -> str:
    """With the name inside the guest or on the host, and where it is."""
    target, alias, source = (element.find(tag) for tag in ("target", "alias", "source"))
    name = target.get("dev") if target is not None else None
    if name is None and alias is not None:
        name = alias.get("name")
    places = () if source is None else (source.get(key) for key in ("file", "dev", "dir", "volume", "name"))
    place = next((text for text in places if text), None) if element.tag == "disk" else None
    return " ".join([what, *([name] if name else []), *([f"({place})"] if place else [])])
