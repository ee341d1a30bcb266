# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What KVM does with each kind of guest, found out with a libvirt that is made up."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host import kvm

CAME_UP = {"bare": "vcsp: ready\n", "debian": "Kernel panic - not syncing: VFS: Unable to mount root fs on (0,0)\n"}


OWN = "<model>Zeta</model><feature policy='require' name='arch-capabilities'/>"
CAPABILITIES = f"""<domainCapabilities><cpu>
  <mode name='host-passthrough' supported='yes'/>
  <mode name='host-model' supported='yes'>
    {OWN}
  </mode>
</cpu></domainCapabilities>"""
HOST_CPU = ElementTree.canonicalize(f"<cpu>{OWN}</cpu>")
REFUSED = "internal error: process exited\nerror: failed to set MSR 0x10a to 0x0\nAssertion `ret == n' failed."


class LibvirtError(Exception):
    """libvirt.libvirtError."""


class Hypervisor:
    """A libvirt whose guests say what ``says`` returns, or that refuses them.

    :param says: kind of the guest and its CPU -> its console; an exception refuses it.
    :param common: the baseline of several CPUs.
    """

    def __init__(self, says: Callable[[str, str], str | Exception], common: str | Exception = "") -> None:
        self._says, self._common = says, common
        self.tried: list[tuple[str, str]] = []
        self.running = 0

    def getDomainCapabilities(self, *_arguments: Any) -> str:  # noqa: N802
        return CAPABILITIES

    def baselineHypervisorCPU(self, *arguments: Any) -> str:  # noqa: N802
        *_machine, cpus, _flags = arguments
        if isinstance(self._common, Exception):
            raise self._common
        return self._common if len(cpus) > 1 else f"<cpu mode='custom' match='exact'>{OWN}</cpu>\n"

    def createXML(self, xml: str, _flags: int) -> Any:  # noqa: N802
        system = "bare" if "<loader" in xml else "debian"
        cpu = xml[xml.index("<cpu") : xml.index("<on_reboot")].strip()
        self.tried.append((system, cpu))
        said = self._says(system, cpu)
        if isinstance(said, Exception):
            raise said
        log = re.search("<source path='([^']*)'/>", xml)
        assert log is not None
        Path(log[1]).write_text(said)
        self.running += 1
        return SimpleNamespace(destroy=self._destroy)

    def _destroy(self) -> None:
        self.running -= 1


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = SimpleNamespace(
        libvirtError=LibvirtError, VIR_DOMAIN_START_AUTODESTROY=2, VIR_CONNECT_BASELINE_CPU_MIGRATABLE=2
    )
    monkeypatch.setattr(kvm, "libvirt", fake)
    monkeypatch.setattr(kvm, "LOG_DIR", tmp_path)
    monkeypatch.setattr(kvm, "BOOT_S", {"bare": 0.1, "debian": 0.1})
    monkeypatch.setattr("os.access", lambda *_: True)
    for name in ("bare.rom", "vmlinuz"):
        (tmp_path / name).touch()


def disabled(cpu: str) -> set[str]:
    """The features that a CPU is without."""
    found = ElementTree.fromstring(cpu).findall("feature[@policy='disable']")
    return {str(feature.get("name")) for feature in found}


def probe(
    tmp_path: Path, hypervisor: Hypervisor | None, key: Any = 1, keep: bool = True, host_cpus: Sequence[str] = ()
) -> dict[str, Any]:
    rom, kernel, cache = (tmp_path / name for name in ("bare.rom", "vmlinuz", "cache"))
    found = kvm.probe(hypervisor, rom, kernel, cache, key, keep, host_cpus)
    assert hypervisor is None or hypervisor.running == 0
    assert list(tmp_path.glob("vcsp-probe-*")) == []
    return found


def test_a_working_kvm_runs_both_with_the_hosts_model(tmp_path: Path) -> None:
    hypervisor = Hypervisor(lambda system, _cpu: CAME_UP[system])
    found = probe(tmp_path, hypervisor)
    assert [(found[name]["usable"], found[name]["cpu"]) for name in ("bare", "debian")] == [(True, "host-model")] * 2
    assert hypervisor.tried == [("bare", kvm.CPUS["host-model"]), ("debian", kvm.CPUS["host-model"])]


def test_a_kvm_without_hardware_runs_the_bare_guest_only(tmp_path: Path) -> None:
    def says(system: str, cpu: str) -> str | Exception:
        if disabled(cpu) != {"arch-capabilities"}:
            return LibvirtError(REFUSED)
        return CAME_UP["bare"] if system == "bare" else "Decompressing Linux...\n"

    hypervisor = Hypervisor(says)
    found = probe(tmp_path, hypervisor)
    assert found["bare"]["cpu"] == "host-model without arch-capabilities"
    assert disabled(found["bare"]["cpu_xml"]) == {"arch-capabilities"}
    assert found["debian"]["usable"] is False
    assert "did not come up in 0 s, but said: Decompressing Linux..." in found["debian"]["reason"]
    # What the bare guest ran with is all that the kernel, which takes long to fail, is tried with.
    cpu = found["bare"]["cpu_xml"]
    assert hypervisor.tried == [("bare", kvm.CPUS["host-model"]), ("bare", cpu), ("debian", cpu)]
    assert kvm.accelerator(found, "bare")["name"] == "kvm"
    assert kvm.accelerator(found, "debian") == {"name": "tcg", "reason": found["debian"]["reason"]}


def test_the_models_are_tried_in_order_each_without_what_qemu_cannot_set(tmp_path: Path) -> None:
    hypervisor = Hypervisor(lambda *_: LibvirtError(REFUSED.replace("0x10a", "0x48b")))
    found = probe(tmp_path, hypervisor)
    modes = [str(ElementTree.fromstring(cpu).get("mode")) for _system, cpu in hypervisor.tried]
    assert modes == [mode for mode in ("host-model", "host-passthrough", "custom") for _attempt in range(2)]
    assert [disabled(cpu) for _system, cpu in hypervisor.tried] == [set(), {"vmx"}] * 3
    assert found["bare"]["usable"] is False
    assert "libvirt's baseline without vmx: QEMU cannot set vmx" in found["bare"]["reason"]
    # What QEMU does not name as a register is no reason to leave anything out.
    hypervisor = Hypervisor(lambda *_: LibvirtError("unsupported configuration: no svm"))
    found = probe(tmp_path, hypervisor, key=2)
    assert len(hypervisor.tried) == 3
    assert "host-passthrough: unsupported configuration: no svm" in found["bare"]["reason"]


def test_hosts_that_differ_are_tried_with_their_baseline_alone(tmp_path: Path) -> None:
    common = "<cpu mode='custom'><model>Alpha</model></cpu>"
    hypervisor = Hypervisor(lambda system, _cpu: CAME_UP[system], common)
    own = probe(tmp_path, hypervisor)
    found = probe(tmp_path, hypervisor, host_cpus=[HOST_CPU, "<cpu><model>Alpha</model></cpu>"])
    assert (found["bare"]["cpu"], found["bare"]["cpu_xml"]) == (kvm.BASELINE, common)
    assert hypervisor.tried[2:] == [("bare", common), ("debian", common)]
    # Both answers are kept.
    assert probe(tmp_path, hypervisor) == own
    assert probe(tmp_path, hypervisor, host_cpus=["<cpu><model>Alpha</model></cpu>", HOST_CPU]) == found
    assert probe(tmp_path, hypervisor, host_cpus=[HOST_CPU, HOST_CPU]) == own
    assert len(hypervisor.tried) == 4


def test_hosts_without_a_baseline_are_told_so(tmp_path: Path) -> None:
    hypervisor = Hypervisor(lambda system, _cpu: CAME_UP[system], LibvirtError("CPUs are incompatible"))
    found = probe(tmp_path, hypervisor, host_cpus=[HOST_CPU, "<cpu><model>Alpha</model></cpu>"])
    assert hypervisor.tried == []
    assert found["bare"] == kvm.verdict(False, "libvirt's baseline: CPUs are incompatible")


def test_the_hosts_cpu_is_what_libvirt_makes_of_it() -> None:
    assert kvm.host_cpu(Hypervisor(lambda *_: "")) == HOST_CPU
    assert kvm.host_cpu(None) is None


def test_a_guest_that_hangs_costs_its_time_once(tmp_path: Path) -> None:
    hypervisor = Hypervisor(lambda *_: "")
    found = probe(tmp_path, hypervisor)
    assert [system for system, _cpu in hypervisor.tried] == ["bare"]
    assert "said nothing" in found["bare"]["reason"]
    assert found["debian"]["usable"] is False


def test_an_answer_is_kept_for_these_guests_and_this_software(tmp_path: Path) -> None:
    hypervisor = Hypervisor(lambda system, _cpu: CAME_UP[system])
    for key, keep, tries in ((1, False, 2), (1, True, 4), (1, True, 4), (1, False, 4), (2, True, 6)):
        probe(tmp_path, hypervisor, key, keep)
        assert len(hypervisor.tried) == tries
        assert (tmp_path / "cache").exists() == (tries > 2)
    (tmp_path / "bare.rom").write_text("another one")
    probe(tmp_path, hypervisor, 2)
    assert len(hypervisor.tried) == 8
    (tmp_path / "cache").write_text(json.dumps({"key": [], "accelerator": {}}))  # of an earlier version
    assert probe(tmp_path, hypervisor, 2)["bare"]["usable"] is True


def test_what_was_not_tried_is_not_said_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = probe(tmp_path, None)
    assert found["bare"]["usable"] is None
    assert "libvirt does not answer" in found["bare"]["reason"]
    (tmp_path / "vmlinuz").unlink()
    found = probe(tmp_path, Hypervisor(lambda system, _cpu: CAME_UP[system]))
    assert (found["bare"]["usable"], found["debian"]["usable"]) == (True, None)
    assert kvm.accelerator(found, "debian")["name"] == "tcg"
    monkeypatch.setattr("os.access", lambda *_: False)
    assert probe(tmp_path, None)["bare"] == kvm.verdict(False, "there is no usable /dev/kvm")
