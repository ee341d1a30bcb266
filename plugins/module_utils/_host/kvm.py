# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which guests KVM runs on this host, and with which CPU model: by trying, not by looking at /dev/kvm.

A KVM may run one guest and not the other: without hardware behind it, each instruction is emulated, and a kernel hangs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from .._libvirt import libvirt
from .calls import Calls, Unanswered

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LOG_DIR = Path("/var/log/libvirt")
# How long a guest may take to come up; one that hangs takes as long.
BOOT_S = {"bare": 5.0, "debian": 10.0}
# What a guest that came up has said: a kernel without a root file system says so just before it gives up.
CAME_UP = {"bare": "vcsp: ready", "debian": "Unable to mount root fs"}

# Tried in this order. libvirt's host-model names features that QEMU may be unable to set, and so does host-passthrough;
# what the second one leaves out is known to be refused by a KVM inside a virtual machine.
CPUS = {
    "host-model": "<cpu mode='host-model'/>",
    "host-passthrough": "<cpu mode='host-passthrough'/>",
    "host-passthrough without arch-capabilities": (
        "<cpu mode='host-passthrough'><feature policy='disable' name='arch-capabilities'/></cpu>"
    ),
}

PROBE = """<domain type='kvm'>
  <name>{name}</name>
  <memory unit='MiB'>{memory_mb}</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type>{boot}</os>
  <features><acpi/><apic/></features>
  {cpu}
  <on_reboot>destroy</on_reboot>
  <devices>
    <controller type='usb' model='none'/>
    <controller type='virtio-serial' index='0'/>
    <serial type='file'><source path='{log}'/><target port='0'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>"""


@dataclass(frozen=True)
class Guest:
    """A guest to try.

    :ivar system: ``bare`` or ``debian``.
    :ivar file: its ROM, or its kernel.
    """

    system: str
    file: Path

    @property
    def boot(self) -> str:
        """How it boots, as in a domain's ``<os>``."""
        path = escape(str(self.file))
        if self.system == "bare":
            return f"<loader type='rom'>{path}</loader>"
        return f"<kernel>{path}</kernel><cmdline>console=ttyS0 panic=-1</cmdline>"


def verdict(usable: bool | None, reason: str, cpu: str | None = None) -> dict[str, Any]:
    """What is known of one kind of guest.

    :param usable: None if it was not tried.
    :param cpu: name of the CPU model that it ran with, a key of ``CPUS``.
    """
    return {"usable": usable, "reason": reason, "cpu": cpu, "cpu_xml": CPUS[cpu] if cpu else None}


def probe(
    connection: Any | None, bare: Path | None, kernel: Path | None, cache: Path | None, key: Any, keep: bool = True
) -> dict[str, Any]:
    """What KVM does with each kind of guest.

    :param connection: to libvirt; None where it does not answer.
    :param bare: the bare guest's ROM, which is tried first; a kernel is tried with the CPU model that it ran with.
    :param cache: file that keeps the answer for this boot, these guests and ``key``.
    :param keep: whether to write that file, if its folder exists.
    :returns: ``bare`` and ``debian``, each as :func:`verdict`.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return _both(False, "there is no usable /dev/kvm")
    guests = [Guest(name, path) for name, path in (("bare", bare), ("debian", kernel)) if path and path.exists()]
    if not guests:
        return _both(None, "KVM was not tried: there is no guest to boot yet")
    if connection is None:
        return _both(None, "KVM was not tried: libvirt does not answer")
    whole_key = [BOOT_ID.read_text().strip(), key, [[str(guest.file), *_stamp(guest.file)] for guest in guests]]
    known = _read(cache, whole_key)
    if known is not None:
        return known
    found = _both(None, "KVM was not tried: there is no such guest to boot yet")
    cpus = list(CPUS)
    for guest in guests:
        found[guest.system] = _try(connection, guest, cpus)
        if guest.system == "bare":
            cpu = found["bare"]["cpu"]
            if cpu is None:
                found["debian"] = verdict(False, f"a smaller guest does not run, either: {found['bare']['reason']}")
                break
            cpus = [cpu]
    if keep and cache is not None and cache.parent.is_dir():
        temporary = cache.with_suffix(".tmp")
        temporary.write_text(json.dumps({"key": whole_key, "kvm": found}))
        temporary.replace(cache)
    return found


def _both(usable: bool | None, reason: str) -> dict[str, Any]:
    return {system: verdict(usable, reason) for system in BOOT_S}


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _read(cache: Path | None, key: Any) -> dict[str, Any] | None:
    try:
        known = json.loads(cache.read_text()) if cache is not None else None
        if known is not None and known["key"] == json.loads(json.dumps(key)):
            kept: dict[str, Any] = known["kvm"]
            return kept
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing kept yet, or by another version
    return None


def _try(connection: Any, guest: Guest, cpus: list[str]) -> dict[str, Any]:
    reasons = []
    for cpu in cpus:
        started = time.monotonic()
        problem = boot(connection, guest, CPUS[cpu])
        if problem is None:
            return verdict(True, f"it came up in {time.monotonic() - started:.1f} s with {cpu}", cpu)
        reasons.append(f"{cpu}: {problem}")
    return verdict(False, "; ".join(reasons))


def boot(connection: Any, guest: Guest, cpu: str) -> str | None:
    """Boot a guest and end it.

    :param cpu: the domain's ``<cpu>``.
    :returns: why it did not come up; None if it did.
    """
    name = f"vcsp-probe-{os.getpid()}"
    log = LOG_DIR / f"{name}.log"
    text = PROBE.format(name=name, memory_mb=256, boot=guest.boot, cpu=cpu, log=log)
    calls, limit_s = Calls(), BOOT_S[guest.system]
    try:
        domain = calls.make("createXML", connection.createXML, text, libvirt.VIR_DOMAIN_START_AUTODESTROY)
        said = _console(log, CAME_UP[guest.system], limit_s)
        with suppress(libvirt.libvirtError):  # it has ended by itself
            calls.make("destroy", domain.destroy)
    except libvirt.libvirtError as error:
        return str(error).strip().splitlines()[-1][:200]
    except Unanswered as error:
        return f"libvirt: {error}"
    finally:
        log.unlink(missing_ok=True)
    if CAME_UP[guest.system] in said:
        return None
    last = said.strip().splitlines()[-1:]
    return f"it did not come up in {limit_s:.0f} s" + (f", but said: {last[0][:200]}" if last else " and said nothing")


def _console(log: Path, sign: str, limit_s: float) -> str:
    """What a guest has said when it came up, or at the end of its time."""
    deadline = time.monotonic() + limit_s
    while True:
        said = log.read_text(errors="replace") if log.exists() else ""
        if sign in said or time.monotonic() > deadline:
            return said
        time.sleep(0.05)


def accelerator(kvm: Mapping[str, Any], system: str) -> dict[str, Any]:
    """The accelerator for a kind of guest on this host, and why."""
    found = kvm[system]
    return {"name": "kvm" if found["usable"] else "tcg", "reason": found["reason"]}
