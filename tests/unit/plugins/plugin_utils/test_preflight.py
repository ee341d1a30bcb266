# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Can two hosts run a scenario?"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.gate import load
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.preflight import accelerator, machine, preflight

ALL = ["post-copy", "post-copy-prefetching", "vcsp", "vcsp-prefetching"]


def host(name: str) -> dict[str, Any]:
    return {
        "qemu": {"version": "10.0.2", "major": 10, "postcopy_preempt": True, "postcopy_blocktime": True},
        "accelerator": {"name": "kvm", "reason": "a kernel boots"},
        "userfaultfd": {"usable": True, "reason": ""},
        "ebpf": {"usable": True, "reason": ""},
        "cgroup": {"version": 2, "cpu": True, "reason": ""},
        "libvirt": {"version": "11.3.0"},
        "memory": {"total_mb": 4096, "available_mb": 2048},
        "kernel": "6.12.0",
        "cpu": {"model": "Example", "count": 2},
        "distribution": "Debian 13",
        "hostname": name,
    }


def problems(methods: list[Any] = ALL, guest: Any = None, **changes: Any) -> list[str]:
    """Change the hosts by ``source__ebpf={...}`` and so on."""
    hosts = {"source": host("alpha"), "destination": host("beta")}
    for place, value in changes.items():
        role, _, key = place.partition("__")
        hosts[role][key] = {**hosts[role][key], **value} if isinstance(value, dict) and hosts[role].get(key) else value
    scenario = load({"name": "a", "workloads": [{"window_mb": 8}], "methods": methods, "guest": guest or {}})
    before = copy.deepcopy(hosts)
    found = preflight(scenario, hosts["source"], hosts["destination"])
    assert hosts == before
    return found


def test_nothing_lacking() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"destination__userfaultfd": {"usable": False, "reason": "EPERM"}},
            ["destination (beta)", "userfaultfd", "EPERM", "sysctl vm.unprivileged_userfaultfd=1", "provision.yml"],
        ),
        (
            {"destination__ebpf": {"usable": False, "reason": "no clang"}},
            ["destination (beta)", "eBPF", "no clang", "post-copy-prefetching, vcsp-prefetching", "prefetch_pages: 1"],
        ),
        (
            {"destination__cgroup": {"cpu": False, "reason": "not mounted"}},
            ["destination (beta)", "CPU controller", "not mounted", "vcsp, vcsp-prefetching"],
        ),
        ({"source__libvirt": None}, ["source (alpha)", "libvirt"]),
        ({"destination__qemu": None}, ["destination (beta)", "no QEMU", "provision.yml"]),
        ({"source__memory": {"available_mb": 639}}, ["source (alpha)", "639 MB", "640 MB", "guest.memory_mb"]),
        ({"source__memory": {"available_mb": None}}, ["source (alpha)", "not known", "Linux"]),
        ({"source__qemu": {"version": "10.1.0"}}, ["destination (beta)", "10.0.2", "older", "10.1.0"]),
        ({"guest": {"vcpus": 4}, "source__cpu": {"count": 4}}, ["destination (beta)", "2 CPUs", "guest.vcpus"]),
    ],
)
def test_one_thing_lacking(changes: dict[str, Any], told: list[str]) -> None:
    (problem,) = problems(**changes)
    for part in told:
        assert part in problem


def test_old_qemu_can_push_but_not_serve_demand_only() -> None:
    old = {"version": "6.2.0", "major": 6, "postcopy_preempt": False}
    push = [{"name": name, "transfer": "push"} for name in ALL]
    found = problems(source__qemu=old, destination__qemu=old)
    assert [problem.partition(":")[0] for problem in found] == ["source (alpha)", "destination (beta)"]
    for problem in found:
        assert "6.2.0 has no postcopy-preempt" in problem
        assert "'transfer: push'" in problem
    assert problems(push, source__qemu=old, destination__qemu=old) == []
    # The version alone does not make the capability.
    assert len(problems(destination__qemu={"postcopy_preempt": False})) == 1


def test_only_what_the_methods_need() -> None:
    poor = {"destination__ebpf": {"usable": False}, "destination__cgroup": {"cpu": False}}
    assert problems(["post-copy"], **poor) == []
    assert len(problems(["vcsp"], **poor)) == 1
    assert len(problems(["vcsp-prefetching"], **poor)) == 2


def test_the_source_needs_no_faults_prefetching_or_quota() -> None:
    poor = {
        "source__ebpf": {"usable": False},
        "source__cgroup": {"cpu": False},
        "source__userfaultfd": {"usable": False},
    }
    assert problems(**poor) == []


def with_tls(*authorities: str, usable: bool = True, reason: str = "") -> dict[str, Any]:
    return {"usable": usable, "reason": reason, "authorities": list(authorities)}


def test_encryption_needs_certificates_that_the_other_host_trusts() -> None:
    encrypted = ["post-copy", {"name": "secret", "tls": True}]
    ours = {"source__tls": with_tls("a", "b"), "destination__tls": with_tls("b")}
    assert problems(encrypted, **ours) == []
    (problem,) = problems(encrypted, **{**ours, "destination__tls": with_tls("c")})
    for part in ("the TLS of secret", "no authority in common", "tls: false"):
        assert part in problem
    expired = with_tls(usable=False, reason="server-cert.pem is refused: certificate has expired")
    (problem,) = problems(encrypted, **{**ours, "destination__tls": expired})
    for part in ("destination (beta)", "no certificates that serve for the TLS of secret", "has expired"):
        assert part in problem
    assert len(problems(encrypted)) == 2
    assert problems(["post-copy"], destination__tls=expired) == []
    # What will be made is not known yet.
    assert problems(encrypted, source__tls={"usable": True}, destination__tls={"usable": True}) == []


def test_hosts_on_one_machine_share_its_memory() -> None:
    shared = {"source__boot_id": "x", "destination__boot_id": "x"}
    for role in ("source", "destination"):
        shared[f"{role}__memory"] = {"available_mb": 1279}  # type: ignore[assignment]
    (problem,) = problems(**shared)
    assert "share one machine" in problem
    assert "1280 MB" in problem
    assert problems(**{**shared, "source__boot_id": "y"}) == []


def test_hosts_without_a_machine_type_in_common() -> None:
    old, new = ["pc-i440fx-10.0"], ["pc-i440fx-11.1", "pc-i440fx-10.0"]
    assert problems(source__machines=old, destination__machines=new) == []
    assert machine({"machines": old}, {"machines": new}) == "pc-i440fx-10.0"
    (problem,) = problems(source__machines=["pc-i440fx-noble"], destination__machines=new)
    assert "(pc-i440fx-noble, pc-i440fx-11.1)" in problem
    assert problems(source__machines=old) == []
    assert machine({"machines": old}, {}) == machine({"machines": []}, {"machines": None}) == "pc"


def test_a_host_that_told_nothing() -> None:
    scenario = load({"name": "a", "workloads": [{"window_mb": 8}], "methods": ALL})
    found = preflight(scenario, {}, {})
    assert len(found) == 9
    assert all("unnamed host" in problem for problem in found)


def with_kvm(cpu: str, cpu_xml: str, host_cpu: str | None) -> dict[str, Any]:
    found = {"usable": True, "reason": "it came up", "cpu": cpu, "cpu_xml": cpu_xml}
    return {"kvm": {"bare": found, "debian": found, "host_cpu": host_cpu}}


MODEL = ("host-model", "<cpu mode='host-model'/>")
COMMON = ("libvirt's baseline", "<cpu mode='custom'/>")


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        ((*MODEL, "<cpu>A</cpu>"), (*MODEL, "<cpu>A</cpu>"), "kvm"),
        ((*MODEL, None), (*MODEL, None), "kvm"),
        ((*MODEL, "<cpu>A</cpu>"), (*MODEL, "<cpu>B</cpu>"), "tcg"),
        ((*COMMON, "<cpu>A</cpu>"), (*COMMON, "<cpu>B</cpu>"), "kvm"),
        (("libvirt's baseline without vmx", COMMON[1], "<cpu>A</cpu>"), (*COMMON, "<cpu>B</cpu>"), "tcg"),
        ((*COMMON, "<cpu>A</cpu>"), (COMMON[0], "<cpu mode='custom'>other</cpu>", "<cpu>B</cpu>"), "tcg"),
        ((*MODEL, "<cpu>A</cpu>"), ("host-passthrough", "<cpu mode='host-passthrough'/>", "<cpu>A</cpu>"), "tcg"),
    ],
)
@pytest.mark.parametrize("same_model", [True, False])
def test_kvm_needs_the_same_cpu_on_both_hosts(
    one: tuple[str, str, str | None], other: tuple[str, str, str | None], name: str, same_model: bool
) -> None:
    source, destination = {**host("alpha"), **with_kvm(*one)}, {**host("beta"), **with_kvm(*other)}
    if not same_model:
        destination["cpu"] = {"model": "Another", "count": 2}
        name = name if one[0] == "libvirt's baseline" else "tcg"
    guest = load({"name": "a", "workloads": [{"window_mb": 8}], "methods": ALL})["guest"]
    found = accelerator(guest, source, destination)
    assert found["name"] == name
    assert found["cpu_xml"] == (one[1] if name == "kvm" else None)
    told = problems(
        guest={"accelerator": "kvm"},
        source__kvm=source["kvm"],
        destination__kvm=destination["kvm"],
        destination__cpu=destination["cpu"],
    )
    assert [("processors differ" in problem) for problem in told] == ([] if name == "kvm" else [True])
