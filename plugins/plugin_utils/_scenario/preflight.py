# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Can these two hosts run this scenario? Every reason why not, before anything is touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...module_utils._host.kvm import BASELINE
from ...module_utils._host.machines import ALIAS, in_common
from ...module_utils._method import Method

# QEMU's own memory beside the guest's, on the generous side.
QEMU_OVERHEAD_MB = 128
PROVISION = "run playbooks/provision.yml"


def preflight(scenario: Mapping[str, Any], source: Mapping[str, Any], destination: Mapping[str, Any]) -> list[str]:
    """Return every reason why the hosts cannot run a scenario, ready for people; an empty list if they can.

    :param scenario: normalised scenario
    :param source: what vcsp.testbed.testbed_info returned for the source; a key that is missing or null counts as
        something that the host does not have
    :param destination: the same for the destination
    """
    methods = scenario["methods"]
    problems = [
        problem
        for role, host in (("source", source), ("destination", destination))
        for problem in (*_software(role, host, methods), *_size(role, host, scenario["guest"]))
    ]
    problems += _accelerator(scenario["guest"], source, destination)
    problems += _destination_only(destination, methods)
    problems += _encryption(source, destination, methods)
    problems += _together(source, destination, scenario["guest"])
    return problems


def accelerator(guest: Mapping[str, Any], source: Mapping[str, Any], destination: Mapping[str, Any]) -> dict[str, Any]:
    """Return what runs the guest on both hosts: ``name`` (kvm or tcg), ``reason``, ``cpu`` and ``cpu_xml`` (with KVM).

    :param guest: the guest of a normalised scenario
    :param source: what vcsp.testbed.testbed_info returned for the source
    :param destination: the same for the destination
    """
    if guest["accelerator"] == "tcg":
        return {"name": "tcg", "reason": "the scenario asks for it", "cpu": None, "cpu_xml": None}
    reasons = list(_no_kvm(guest, source, destination))
    if reasons:
        return {"name": "tcg", "reason": "; ".join(reasons), "cpu": None, "cpu_xml": None}
    found = source["kvm"][guest["system"]]
    return {"name": "kvm", "reason": found["reason"], "cpu": found["cpu"], "cpu_xml": found["cpu_xml"]}


def machine(source: Mapping[str, Any], destination: Mapping[str, Any]) -> str:
    """Return the machine type of a guest that runs on both hosts; the alias where a host did not name its own.

    :param source: what vcsp.testbed.testbed_info returned for the source
    :param destination: the same for the destination
    """
    return in_common(source.get("machines") or [], destination.get("machines") or []) or ALIAS


def _accelerator(guest: Mapping[str, Any], source: Mapping[str, Any], destination: Mapping[str, Any]) -> Iterator[str]:
    """Yield why KVM, which the scenario asks for, cannot be had, where it was tried."""
    tried = all(_kvm(host, guest["system"])["usable"] is not None for host in (source, destination))
    if guest["accelerator"] == "kvm" and tried:
        for reason in _no_kvm(guest, source, destination):
            yield f"{reason}; use 'accelerator: auto' or 'tcg', or hosts with a working KVM"


def _kvm(host: Mapping[str, Any], system: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (host.get("kvm") or {}).get(system) or {"usable": None, "reason": "KVM was not tried"}
    return found


def _no_kvm(guest: Mapping[str, Any], source: Mapping[str, Any], destination: Mapping[str, Any]) -> Iterator[str]:
    """Yield why these hosts do not run the guest with KVM."""
    system = guest["system"]
    usable = True
    for role, host in (("source", source), ("destination", destination)):
        found = _kvm(host, system)
        if not found["usable"]:
            usable = False
            yield f"{_label(role, host)}: KVM does not run a {system} guest ({found['reason']})"
    if usable and not _share_a_cpu(source, destination, system):
        one, other = (
            f"{(host.get('cpu') or {}).get('model')} with {host['kvm'][system]['cpu']}"
            for host in (source, destination)
        )
        yield (
            f"source and destination: their processors differ ({one}, {other}), and a guest cannot move between "
            "them with KVM"
        )


def _share_a_cpu(source: Mapping[str, Any], destination: Mapping[str, Any], system: str) -> bool:
    """Whether KVM gives the guest the same CPU on both hosts: because these are alike, or by its description."""
    cpus, kinds = [], []
    for host in (source, destination):
        found = host["kvm"][system]
        cpus.append((found["cpu"], found["cpu_xml"]))
        kinds.append(((host.get("cpu") or {}).get("model"), host["kvm"].get("host_cpu")))
    return cpus[0] == cpus[1] and (kinds[0] == kinds[1] or cpus[0][0].startswith(BASELINE))


def _label(role: str, host: Mapping[str, Any]) -> str:
    return f"{role} ({host.get('hostname') or 'unnamed host'})"


def _because(part: Mapping[str, Any]) -> str:
    return f" ({part['reason']})" if part.get("reason") else ""


def as_destination(host: Mapping[str, Any], methods: list[Mapping[str, Any]]) -> list[str]:
    """Return every reason why a host can be the destination of no guest, or not with these methods.

    :param host: what vcsp.testbed.testbed_info returned there
    """
    return [*_software("destination", host, methods), *_destination_only(host, methods)]


def _software(role: str, host: Mapping[str, Any], methods: list[Mapping[str, Any]]) -> Iterator[str]:
    demand = [method["name"] for method in methods if Method.of(method).holds_push]
    label = _label(role, host)
    qemu = host.get("qemu")
    if not qemu:
        yield f"{label}: no QEMU for x86-64 guests found; {PROVISION}"
    elif demand and (qemu["major"] < 8 or not qemu.get("postcopy_preempt")):
        yield (
            f"{label}: QEMU {qemu['version']} has no postcopy-preempt (QEMU 8 or newer has), which 'transfer: demand' "
            f"of {', '.join(demand)} needs; install a newer QEMU (Debian 12: bookworm-backports), or use "
            f"'transfer: push'"
        )
    if not host.get("libvirt"):
        yield f"{label}: libvirt does not answer; start libvirtd, or {PROVISION}"


def _size(role: str, host: Mapping[str, Any], guest: Mapping[str, Any]) -> Iterator[str]:
    label = _label(role, host)
    available_mb = (host.get("memory") or {}).get("available_mb")
    needed_mb = guest["memory_mb"] + QEMU_OVERHEAD_MB
    if available_mb is None:
        yield f"{label}: its free memory is not known, and the guest needs {needed_mb} MB; is this host running Linux?"
    elif available_mb < needed_mb:
        yield (
            f"{label}: {available_mb} MB of memory are free, the guest needs {needed_mb} MB; free some, or lower "
            f"guest.memory_mb"
        )
    count = (host.get("cpu") or {}).get("count")
    if count is not None and count < guest["vcpus"]:
        yield (
            f"{label}: has {count} CPUs, the guest has {guest['vcpus']} virtual ones, which would stop each other; "
            f"lower guest.vcpus"
        )


def _destination_only(host: Mapping[str, Any], methods: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what the destination alone must have: there the faults, the quota and the prefetching happen."""
    label = _label("destination", host)
    userfaultfd = host.get("userfaultfd") or {}
    if not userfaultfd.get("usable"):
        yield (
            f"{label}: userfaultfd cannot be used{_because(userfaultfd)}, without which there is no post-copy; "
            f"set sysctl vm.unprivileged_userfaultfd=1, let QEMU's user open /dev/userfaultfd, or {PROVISION}"
        )
    prefetching = [method["name"] for method in methods if Method.of(method).prefetches]
    ebpf = host.get("ebpf") or {}
    if prefetching and not ebpf.get("usable"):
        yield (
            f"{label}: the eBPF prefetch program cannot be loaded{_because(ebpf)}, which {', '.join(prefetching)} "
            f"needs; {PROVISION}, or use 'prefetch_pages: 1'"
        )
    throttled = [method["name"] for method in methods if Method.of(method).throttles]
    cgroup = host.get("cgroup") or {}
    if throttled and not cgroup.get("cpu"):
        yield (
            f"{label}: the cgroup CPU controller is not there{_because(cgroup)}, which the CPU quota of "
            f"{', '.join(throttled)} needs; mount it, or use 'vcpu_quota_percent: 100'"
        )


def _encryption(
    source: Mapping[str, Any], destination: Mapping[str, Any], methods: list[Mapping[str, Any]]
) -> Iterator[str]:
    """Yield why these hosts cannot encrypt the migrations of the methods that ask for it."""
    encrypted = ", ".join(method["name"] for method in methods if Method.of(method).tls)
    if not encrypted:
        return
    remedy = "let playbooks/experiment.yml make them, correct your own (hypervisor_tls_dir), or use 'tls: false'"
    found = [host.get("tls") or {} for host in (source, destination)]
    for role, host, tls in zip(("source", "destination"), (source, destination), found, strict=True):
        if not tls.get("usable"):
            yield (
                f"{_label(role, host)}: it has no certificates that serve for the TLS of {encrypted}{_because(tls)}; "
                f"{remedy}"
            )
    if all(tls.get("usable") for tls in found) and not _share_an_authority(*found):
        yield (
            f"source and destination: the TLS of {encrypted} needs certificates that the other host trusts, and their "
            f"ca-cert.pem have no authority in common; {remedy}"
        )


def _share_an_authority(source: Mapping[str, Any], destination: Mapping[str, Any]) -> bool:
    """Whether both hosts trust one authority; what they trust is not known before they have certificates."""
    here, there = (tls.get("authorities") for tls in (source, destination))
    return here is None or there is None or not set(here).isdisjoint(there)


def _together(source: Mapping[str, Any], destination: Mapping[str, Any], guest: Mapping[str, Any]) -> Iterator[str]:
    """Yield what each host would be fine with, but not both."""
    old, new = (_release(host) for host in (source, destination))
    if old and new and old > new:
        yield (
            f"{_label('destination', destination)}: its QEMU {destination['qemu']['version']} is older than the "
            f"source's {source['qemu']['version']}, and QEMU migrates to the same or a newer release only; "
            f"upgrade it, or let the hosts change places"
        )
    has, wants = (host.get("machines") or [] for host in (source, destination))
    if has and wants and in_common(has, wants) is None:
        yield (
            f"source and destination: neither has what the other's QEMU takes for the machine type {ALIAS} "
            f"({has[0]}, {wants[0]}), so no guest can move between them; install the same QEMU on both"
        )
    boot_id = source.get("boot_id")
    if boot_id and boot_id == destination.get("boot_id"):
        free_mb = [(host.get("memory") or {}).get("available_mb") for host in (source, destination)]
        known_mb = [value for value in free_mb if value is not None]
        needed_mb = guest["memory_mb"] + QEMU_OVERHEAD_MB
        # What one guest alone already lacks has been said.
        if known_mb and needed_mb <= min(known_mb) < 2 * needed_mb:
            yield (
                f"source and destination share one machine ({source.get('hostname')}, {destination.get('hostname')}): "
                f"{min(known_mb)} MB of memory are free, and during a migration the guest exists twice and needs "
                f"{2 * needed_mb} MB; free some, or lower guest.memory_mb"
            )


def _release(host: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the major and minor version of a host's QEMU; None if it has none or calls it by no number."""
    parts = str((host.get("qemu") or {}).get("version", "")).split(".")
    if len(parts) < 2 or not (parts[0].isdecimal() and parts[1].isdecimal()):
        return None
    return int(parts[0]), int(parts[1])
