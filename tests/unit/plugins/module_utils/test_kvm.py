# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What KVM does with each kind of guest, found out with a libvirt that is made up."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host import kvm

CAME_UP = {"bare": "vcsp: ready\n", "debian": "Kernel panic - not syncing: VFS: Unable to mount root fs on (0,0)\n"}


class LibvirtError(Exception):
    """libvirt.libvirtError."""


class Hypervisor:
    """A libvirt whose guests say what ``says`` returns, or that refuses them.

    :param says: kind of the guest and CPU model -> its console; an exception refuses it.
    """

    def __init__(self, says: Callable[[str, str], str | Exception]) -> None:
        self._says = says
        self.tried: list[tuple[str, str]] = []
        self.running = 0

    def createXML(self, xml: str, _flags: int) -> Any:  # noqa: N802
        system = "bare" if "<loader" in xml else "debian"
        cpu = next(name for name, text in reversed(kvm.CPUS.items()) if text in xml)
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
    fake = SimpleNamespace(libvirtError=LibvirtError, VIR_DOMAIN_START_AUTODESTROY=2)
    monkeypatch.setattr(kvm, "libvirt", fake)
    monkeypatch.setattr(kvm, "LOG_DIR", tmp_path)
    monkeypatch.setattr(kvm, "BOOT_S", {"bare": 0.1, "debian": 0.1})
    monkeypatch.setattr("os.access", lambda *_: True)
    for name in ("bare.rom", "vmlinuz"):
        (tmp_path / name).touch()


def probe(tmp_path: Path, hypervisor: Hypervisor | None, key: Any = 1, keep: bool = True) -> dict[str, Any]:
    found = kvm.probe(hypervisor, tmp_path / "bare.rom", tmp_path / "vmlinuz", tmp_path / "cache", key, keep)
    assert hypervisor is None or hypervisor.running == 0
    assert list(tmp_path.glob("vcsp-probe-*")) == []
    return found


def test_a_working_kvm_runs_both_with_the_hosts_model(tmp_path: Path) -> None:
    hypervisor = Hypervisor(lambda system, _cpu: CAME_UP[system])
    found = probe(tmp_path, hypervisor)
    assert [(found[name]["usable"], found[name]["cpu"]) for name in ("bare", "debian")] == [(True, "host-model")] * 2
    assert hypervisor.tried == [("bare", "host-model"), ("debian", "host-model")]


def test_a_kvm_without_hardware_runs_the_bare_guest_only(tmp_path: Path) -> None:
    refused = LibvirtError("internal error: process exited\nerror: failed to set MSR 0x10a to 0x0")

    def says(system: str, cpu: str) -> str | Exception:
        if "without" not in cpu:
            return refused
        return CAME_UP["bare"] if system == "bare" else "Decompressing Linux...\n"

    hypervisor = Hypervisor(says)
    found = probe(tmp_path, hypervisor)
    assert found["bare"]["cpu"] == "host-passthrough without arch-capabilities"
    assert "arch-capabilities" in found["bare"]["cpu_xml"]
    assert found["debian"]["usable"] is False
    assert "did not come up in 0 s, but said: Decompressing Linux..." in found["debian"]["reason"]
    # What the bare guest ran with is all that the kernel, which takes long to fail, is tried with.
    assert hypervisor.tried == [*(("bare", cpu) for cpu in kvm.CPUS), ("debian", list(kvm.CPUS)[-1])]
    assert kvm.accelerator(found, "bare")["name"] == "kvm"
    assert kvm.accelerator(found, "debian") == {"name": "tcg", "reason": found["debian"]["reason"]}


def test_a_kvm_that_runs_nothing_is_left_alone(tmp_path: Path) -> None:
    hypervisor = Hypervisor(lambda *_: "")
    found = probe(tmp_path, hypervisor)
    assert {system for system, _cpu in hypervisor.tried} == {"bare"}
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
