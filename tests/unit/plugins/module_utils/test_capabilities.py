# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The capabilities of made-up hosts."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host import capabilities


def program(path: Path, text: str, status: int = 0) -> str:
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {status}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)",
            {"version": "10.0.2", "major": 10, "postcopy_preempt": True, "postcopy_blocktime": True},
        ),
        (
            "QEMU emulator version 7.2.17",
            {"version": "7.2.17", "major": 7, "postcopy_preempt": False, "postcopy_blocktime": True},
        ),
        (
            "QEMU emulator version 2.12.0",
            {"version": "2.12.0", "major": 2, "postcopy_preempt": False, "postcopy_blocktime": False},
        ),
        ("some other program", None),
    ],
)
def test_qemu_version_and_features(tmp_path: Path, line: str, expected: dict[str, object] | None) -> None:
    assert capabilities.qemu(program(tmp_path / "qemu", line + "\nCopyright (c) 2003-2025")) == expected


def test_a_missing_or_failing_qemu_is_none(tmp_path: Path) -> None:
    assert capabilities.qemu(str(tmp_path / "none")) is None
    assert capabilities.qemu(program(tmp_path / "qemu", "QEMU emulator version 10.0.2", status=1)) is None


@pytest.fixture
def unprivileged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "unprivileged_userfaultfd"
    file.write_text("0\n")
    monkeypatch.setattr(capabilities, "UFFD_SYSCTL", file)
    monkeypatch.setattr(capabilities, "UFFD_DEVICE", tmp_path / "userfaultfd")
    return file


@pytest.mark.parametrize(
    ("conf", "sysctl", "usable", "reason"),
    [
        ('user = "root"\n', "0\n", True, "QEMU runs as root"),
        ('#user = "root"\n user = "qemu"\n', "1\n", True, "vm.unprivileged_userfaultfd is 1"),
        (
            'user = "qemu"\n',
            "0\n",
            False,
            "QEMU runs as qemu, which may not open {}/userfaultfd, and vm.unprivileged_userfaultfd is not 1",
        ),
    ],
)
def test_userfaultfd(tmp_path: Path, unprivileged: Path, conf: str, sysctl: str, usable: bool, reason: str) -> None:
    unprivileged.write_text(sysctl)
    (tmp_path / "qemu.conf").write_text(conf)
    assert capabilities.userfaultfd(tmp_path / "qemu.conf") == {"usable": usable, "reason": reason.format(tmp_path)}


@pytest.mark.parametrize(
    ("mode", "acl", "usable"),
    [
        (0o666, "", True),
        (0o600, "", False),
        (0o666, '#cgroup_device_acl = [\n#    "/dev/null"\n#]\n', True),
        (0o666, 'cgroup_device_acl = [\n    "/dev/null",\n    "/dev/kvm"\n]\n', False),
        (0o666, 'cgroup_device_acl = [\n    "/dev/null",\n    "{}/userfaultfd"\n]\n', True),
    ],
)
def test_a_device_instead_of_the_sysctl(
    tmp_path: Path, unprivileged: Path, monkeypatch: pytest.MonkeyPatch, mode: int, acl: str, usable: bool
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can try as another user")
    for folder in (tmp_path, *tmp_path.parents[:3]):  # pytest's own folders are their owner's alone
        folder.chmod(folder.stat().st_mode | 0o011)
    (tmp_path / "qemu.conf").write_text(f'user = "nobody"\n{acl.format(tmp_path)}')
    device = tmp_path / "userfaultfd"
    device.touch()
    device.chmod(mode)
    found = capabilities.userfaultfd(tmp_path / "qemu.conf")
    assert found["usable"] is usable
    assert str(device) in found["reason"]
    assert ("vm.unprivileged_userfaultfd" in found["reason"]) is not usable


def test_an_account_that_is_not_there_may_open_nothing() -> None:
    assert not capabilities.may_open("nobody-of-that-name", Path("/dev/null"))


def test_a_kernel_without_userfaultfd(tmp_path: Path, unprivileged: Path) -> None:
    unprivileged.unlink()
    assert capabilities.userfaultfd(tmp_path / "none") == {
        "usable": False,
        "reason": "the kernel has no userfaultfd",
    }


def test_qemu_runs_as_the_distributions_user_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(name: str) -> SimpleNamespace:
        raise KeyError(name)

    (tmp_path / "qemu.conf").write_text('#user = "qemu"\n')
    monkeypatch.setattr(capabilities.pwd, "getpwnam", lambda name: SimpleNamespace(pw_name=name))
    assert capabilities.qemu_user(tmp_path / "qemu.conf") == "libvirt-qemu"
    monkeypatch.setattr(capabilities.pwd, "getpwnam", nobody)
    assert capabilities.qemu_user(tmp_path / "none") == "root"


@pytest.mark.parametrize(
    ("mounts", "controllers", "version", "cpu", "reason"),
    [
        ("cgroup2 {0}/v2 cgroup2 rw 0 0\n", "cpuset cpu io", 2, True, "cgroup v2 at {0}/v2"),
        (
            "cgroup2 {0}/v2 cgroup2 rw 0 0\ncgroup {0}/v1 cgroup rw,cpu,cpuacct 0 0\n",
            "io",
            1,
            True,
            "cgroup v1 at {0}/v1",
        ),
        (
            "cgroup2 {0}/v2 cgroup2 rw 0 0\ncgroup {0}/v1 cgroup rw,cpuset 0 0\n",
            "io",
            2,
            False,
            "no hierarchy offers the CPU controller",
        ),
        (
            "proc /proc proc rw 0 0\n",
            "",
            1,
            False,
            "no cgroup v2 hierarchy is mounted, which sockops programs need",
        ),
    ],
)
def test_cgroup(tmp_path: Path, mounts: str, controllers: str, version: int, cpu: bool, reason: str) -> None:
    for name, text in (("self/mounts", mounts.format(tmp_path)), ("v2/cgroup.controllers", controllers)):
        file = tmp_path / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
    found = capabilities.cgroup(tmp_path)
    assert found == {"version": version, "cpu": cpu, "reason": reason.format(tmp_path)}


def test_provenance_identifies_hosts_that_share_a_kernel() -> None:
    found = capabilities.provenance()
    assert found["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert len(found["boot_id"]) == 36
    assert found["cpu"]["count"] >= 1


def test_microcode_and_governors_where_they_exist(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("model name\t: Model 1\nmicrocode\t: 0x2b000603\n" * 2)
    for number, governor in enumerate(("powersave", "performance", "performance")):
        frequency = tmp_path / f"cpu{number}" / "cpufreq"
        frequency.mkdir(parents=True)
        (frequency / "scaling_governor").write_text(f"{governor}\n")
    found = capabilities.cpu(tmp_path / "cpuinfo", tmp_path)
    assert found["model"] == "Model 1"
    assert found["microcode"] == "0x2b000603"
    assert found["governor"] == "performance and powersave"
    (tmp_path / "none").write_text("model name\t: Model 2\n")
    found = capabilities.cpu(tmp_path / "none", tmp_path / "none")
    assert (found["microcode"], found["governor"]) == (None, None)
