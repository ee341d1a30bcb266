# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which guests KVM runs on this host, and with which CPU model: by trying, not by looking at /dev/kvm.

A KVM may run one guest and not the other: without hardware behind it, each instruction is emulated, and a kernel hangs.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from .._libvirt import libvirt
from .calls import Calls, Unanswered

# Of the guest: architecture, machine type, hypervisor.
MACHINE = ("x86_64", "pc", "kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LOG_DIR = Path("/var/log/libvirt")
# How long a guest may take to come up; one that hangs takes as long.
BOOT_S = {"bare": 5.0, "debian": 10.0}
# What a guest that came up has said: a kernel without a root file system says so just before it gives up.
CAME_UP = {"bare": "vcsp: ready", "debian": "Unable to mount root fs"}

# Tried in this order, and after them what libvirt makes of the host's CPU as a baseline, which is all that hosts with
# different CPUs have in common.
CPUS = {"host-model": "<cpu mode='host-model'/>", "host-passthrough": "<cpu mode='host-passthrough'/>"}
BASELINE = "libvirt's baseline"
# What QEMU says of a model-specific register that this KVM cannot set, though its CPU model promises it: one inside a
# virtual machine, for instance. Register -> the CPU feature that has it.
REFUSED_MSR = re.compile(r"failed to set MSR (0x[0-9a-f]+)")
MSR_FEATURES = {0xCF: "core-capability", 0x10A: "arch-capabilities", 0x345: "pdcm"} | dict.fromkeys(
    range(0x480, 0x492), "vmx"
)

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


def verdict(usable: bool | None, reason: str, cpu: str | None = None, cpu_xml: str | None = None) -> dict[str, Any]:
    """What is known of one kind of guest.

    :param usable: None if it was not tried.
    :param cpu: name of the CPU model that it ran with.
    :param cpu_xml: the same as a domain's ``<cpu>``.
    """
    return {"usable": usable, "reason": reason, "cpu": cpu, "cpu_xml": cpu_xml}


def host_cpu(connection: Any | None) -> str | None:
    """The host's CPU as libvirt describes it to KVM guests; None where it does not.

    Equal on hosts that are alike, and what a baseline is made from.
    """
    if connection is None:
        return None
    try:
        text = Calls().make("getDomainCapabilities", connection.getDomainCapabilities, None, *MACHINE)
    except (libvirt.libvirtError, Unanswered):  # there is no KVM, for instance
        return None
    mode = ElementTree.fromstring(text).find("cpu/mode[@name='host-model'][@supported='yes']")
    if mode is None:
        return None
    mode.tag, mode.attrib = "cpu", {}
    return ElementTree.canonicalize(_text(mode), strip_text=True)


def probe(
    connection: Any | None,
    bare: Path | None,
    kernel: Path | None,
    cache: Path | None,
    key: Any,
    keep: bool = True,
    host_cpus: Sequence[str] = (),
) -> dict[str, Any]:
    """What KVM does with each kind of guest.

    :param connection: to libvirt; None where it does not answer.
    :param bare: the bare guest's ROM, which is tried first; a kernel is tried with the CPU model that it ran with.
    :param cache: file that keeps the answers for this boot, these guests and ``key``.
    :param keep: whether to write that file, if its folder exists.
    :param host_cpus: of all hosts that the guest moves between, as :func:`host_cpu`. If they differ, nothing but
        their baseline is tried.
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
    # One answer for this host alone, and one for each set of hosts.
    question = json.dumps(sorted(set(host_cpus))) if len(set(host_cpus)) > 1 else ""
    if question not in known:
        known[question] = _find_out(connection, guests, host_cpus)
        if keep and cache is not None and cache.parent.is_dir():
            temporary = cache.with_suffix(".tmp")
            temporary.write_text(json.dumps({"key": whole_key, "kvm": known}))
            temporary.replace(cache)
    answer: dict[str, Any] = known[question]
    return answer


def _find_out(connection: Any, guests: Sequence[Guest], host_cpus: Sequence[str]) -> dict[str, Any]:
    found = _both(None, "KVM was not tried: there is no such guest to boot yet")
    models: Iterable[tuple[str, str]] = _models(connection, host_cpus)
    for guest in guests:
        found[guest.system] = _try(connection, guest, models)
        if guest.system == "bare":
            bare = found["bare"]
            if not bare["usable"]:
                found["debian"] = verdict(False, f"a smaller guest does not run, either: {bare['reason']}")
                break
            models = [(bare["cpu"], bare["cpu_xml"])]
    return found


def _models(connection: Any, host_cpus: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The CPU models to try, by name.

    :raises libvirt.libvirtError: the hosts' CPUs have no baseline.
    """
    if len(set(host_cpus)) < 2:
        yield from CPUS.items()
        host_cpus = [cpu for cpu in [host_cpu(connection)] if cpu is not None]
    if host_cpus:
        yield BASELINE, baseline(connection, host_cpus)


def baseline(connection: Any, host_cpus: Sequence[str]) -> str:
    """The CPU that all hosts have, as a domain's ``<cpu>``.

    :param host_cpus: as :func:`host_cpu`.
    :raises libvirt.libvirtError: there is none.
    """
    make, flags = connection.baselineHypervisorCPU, libvirt.VIR_CONNECT_BASELINE_CPU_MIGRATABLE
    # In the same order on each host, so that they come to the same.
    found: str = Calls().make("baselineHypervisorCPU", make, None, *MACHINE, sorted(host_cpus), flags)
    return found.strip()


def _both(usable: bool | None, reason: str) -> dict[str, Any]:
    return {system: verdict(usable, reason) for system in BOOT_S}


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _read(cache: Path | None, key: Any) -> dict[str, Any]:
    """The answers that are kept for a key; none without a cache."""
    try:
        kept = json.loads(cache.read_text()) if cache is not None else {}
        if kept["key"] == json.loads(json.dumps(key)):
            return dict(kept["kvm"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing kept yet, or by another version
    return {}


def _try(connection: Any, guest: Guest, models: Iterable[tuple[str, str]]) -> dict[str, Any]:
    reasons: list[str] = []
    try:
        for name, cpu in models:
            found = _try_model(connection, guest, name, cpu, reasons)
            if found is not None:
                return found
    except libvirt.libvirtError as error:
        reasons.append(f"{BASELINE}: {_last_line(error)}")
    except Unanswered as error:
        reasons.append(f"libvirt: {error}")
    return verdict(False, "; ".join(reasons))


def _try_model(connection: Any, guest: Guest, name: str, cpu: str, reasons: list[str]) -> dict[str, Any] | None:
    """What a guest does with a CPU model, less the features that QEMU cannot set; None if it is refused altogether.

    :param reasons: gets one more for each attempt that failed.
    """
    without: list[str] = []
    while True:
        started = time.monotonic()
        called = f"{name} without {', '.join(without)}" if without else name
        cpu_xml = _without(cpu, without)
        try:
            problem = boot(connection, guest, cpu_xml)
        except libvirt.libvirtError as error:
            told = REFUSED_MSR.search(str(error))
            feature = MSR_FEATURES.get(int(told[1], 16)) if told else None
            reasons.append(f"{called}: " + (f"QEMU cannot set {feature}" if feature else _last_line(error)))
            if feature is None or feature in without:
                return None
            without.append(feature)
            continue
        if problem is None:
            return verdict(True, f"it came up in {time.monotonic() - started:.1f} s with {called}", called, cpu_xml)
        # It hangs, which takes long, and with other features would do so, too.
        return verdict(False, "; ".join([*reasons, f"{called}: {problem}"]))


def _without(cpu: str, features: Sequence[str]) -> str:
    """A domain's ``<cpu>`` less some features."""
    if not features:
        return cpu
    root = ElementTree.fromstring(cpu)
    for name in features:
        found = root.find(f"feature[@name='{name}']")
        feature = ElementTree.SubElement(root, "feature") if found is None else found
        feature.attrib = {"policy": "disable", "name": name}
    return _text(root)


def _text(element: ElementTree.Element) -> str:
    return ElementTree.tostring(element, "unicode").strip()


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1][:200]


def boot(connection: Any, guest: Guest, cpu: str) -> str | None:
    """Boot a guest and end it.

    :param cpu: the domain's ``<cpu>``.
    :returns: why it did not come up; None if it did.
    :raises libvirt.libvirtError: libvirt or QEMU refuses it.
    :raises Unanswered: libvirt did not answer in time.
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
        time.sleep(0.01)


def accelerator(kvm: Mapping[str, Any], system: str) -> dict[str, Any]:
    """The accelerator for a kind of guest on this host, and why."""
    found = kvm[system]
    return {"name": "kvm" if found["usable"] else "tcg", "reason": found["reason"]}
