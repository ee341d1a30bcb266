# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the lab reads from the machine, and what it computes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._lab import lab as lab_module
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.cgroups import (
    cgroup_hierarchies,
    cpu_limit,
    read_cpu_limit,
    write_cpu_limit,
)
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.lab import Lab
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.link import MigrationLink
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.processes import start_time
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.spec import Host, Spec
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.step import LabError

HYBRID = """\
proc /proc proc rw,nosuid 0 0
tmpfs /sys/fs/cgroup tmpfs ro 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
cgroup /mnt/elsewhere cgroup rw,memory 0 0
"""


def test_only_hierarchies_under_sys_fs_cgroup_count() -> None:
    assert cgroup_hierarchies(HYBRID) == [
        (Path("/sys/fs/cgroup/unified"), True),
        (Path("/sys/fs/cgroup/cpu,cpuacct"), False),
    ]
    assert cgroup_hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n") == [(Path("/sys/fs/cgroup"), True)]
    assert cgroup_hierarchies("") == []


@pytest.mark.parametrize(
    ("percent", "processors", "expected"),
    [(100, 8, (None, 10_000)), (50, 2, (10_000, 10_000)), (99, 1, (9900, 10_000)), (1, 1, (1000, 100_000))],
)
def test_a_share_of_the_processors_is_a_quota_that_the_kernel_takes(
    percent: int, processors: int, expected: tuple[int | None, int]
) -> None:
    assert cpu_limit(percent, processors) == expected


@pytest.mark.parametrize(
    "unlimited",
    [{"cpu.max": "max 100000\n"}, {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}],
    ids=["cgroup v2", "cgroup v1"],
)
def test_a_cpu_limit_is_set_and_lifted(tmp_path: Path, unlimited: dict[str, str]) -> None:
    assert read_cpu_limit(tmp_path) is None, "there is no CPU controller"
    for name, text in unlimited.items():
        (tmp_path / name).write_text(text)
    assert read_cpu_limit(tmp_path) == (None, 100_000)
    write_cpu_limit(tmp_path, 5000, 10_000)
    assert read_cpu_limit(tmp_path) == (5000, 10_000)
    write_cpu_limit(tmp_path, None, 10_000)
    assert read_cpu_limit(tmp_path) == (None, 10_000)
    assert {path.name for path in tmp_path.iterdir()} == set(unlimited)


def test_start_time_of_a_process_whatever_its_name(tmp_path: Path) -> None:
    sleep = shutil.which("sleep")
    assert sleep is not None
    hostile = tmp_path / "a) S 1 (b"
    shutil.copy(os.path.realpath(sleep), hostile)
    process = subprocess.Popen(["sleep", "60"], executable=hostile)
    try:
        started = start_time(process.pid)
        assert started is not None
        own = start_time(os.getpid())
        assert own is not None
        assert int(own) <= int(started) <= float(Path("/proc/uptime").read_text().split()[0]) * 100 + 100
    finally:
        process.kill()
    # Dead but not reaped yet: a zombie does not count as a process.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert start_time(process.pid) is None
    process.wait()
    assert start_time(process.pid) is None


Device = tuple[str | None, str]


class Network:
    """ip and tc of a machine whose devices know only what was said of them.

    :ivar breaks_after: number of changes after which the next is interrupted
    """

    def __init__(self, namespaces: Path) -> None:
        self.namespaces, self.breaks_after = namespaces, 1000
        self.devices: dict[Device, list[str]] = {}
        self.pairs: dict[Device, list[Device]] = {}

    def run(self, command: list[str]) -> tuple[int, str, str]:
        netns = command[command.index("-n") + 1] if "-n" in command else None
        kind, what, *rest = [word for word in command[1:] if word not in ("-n", netns, "-o", "-j")]
        # A name alone could be one of ip's own words: it takes the device "a" for an address.
        marks = [index for index, word in enumerate(rest) if word in ("dev", "name")]
        device = (rest[0], "lo") if kind == "netns" else (netns, rest[marks[0] + 1])
        if what == "show":
            said = self.devices.get(device)
            shown = said is not None and ("up" in said or rest[-1] != "up")
            return said is None, f"{device[1]} {' '.join(said or [])} " if shown else "", ""
        if self.breaks_after == 0:
            raise KeyboardInterrupt
        self.breaks_after -= 1
        self._change(kind, what, rest, device)
        return 0, "", ""

    def _change(self, kind: str, what: str, rest: list[str], device: Device) -> None:
        if kind == "netns":
            (self.namespaces / rest[0]).mkdir(parents=True)
            self.devices[device] = []
        elif (kind, what) == ("link", "add"):
            ends = [device]
            if "peer" in rest:
                ends.append((None if rest[-1].isdigit() else rest[-1], rest[rest.index("peer") + 2]))
            for end in ends:
                assert end not in self.devices
                self.devices[end], self.pairs[end] = [], ends
        elif (kind, what) == ("link", "delete"):
            for end in self.pairs[device]:
                del self.devices[end]
        else:
            self.devices[device] += rest


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Network:
    monkeypatch.setattr(lab_module, "NETNS_DIR", tmp_path / "netns")
    return Network(tmp_path / "netns")


@pytest.fixture
def lab(tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab of root's, of which there is nothing yet."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Lab, "_cgroups", lambda _self: [])
    monkeypatch.setattr(MigrationLink, "steps", lambda _self: iter(()))  # tested on its own
    hosts = (Host("source", "198.18.0.11", "198.18.1.11"), Host("destination", "198.18.0.12", "198.18.1.12"))
    return Lab(
        Spec(
            "vcsp",
            tmp_path / "lib",
            tmp_path / "run",
            hosts,
            "198.18.0.1",
            24,
            1000,
            100,
            "fair",
            "cubic",
            100,
            "/here",
        ),
        network.run,
    )


def run_as_host(lab: Lab, name: str, pid: int) -> None:
    (lab.spec.run_dir / name).mkdir(parents=True)
    (lab.spec.run_dir / name / "init").write_text(f"{pid} {start_time(pid)}\n")


def test_a_running_lab_of_another_checkout_is_refused(lab: Lab, network: Network, tmp_path: Path) -> None:
    lab.check()
    assert (lab.owner(), lab.running()) == (None, [])
    run_as_host(lab, "source", os.getpid())
    assert lab.running() == ["source"]
    lab._write_owner()
    lab.check()
    theirs = Lab(replace(lab.spec, owner="/there"), network.run)
    theirs.check()  # of a checkout that is gone
    Lab(replace(lab.spec, owner=str(tmp_path)), network.run)._write_owner()
    with pytest.raises(LabError, match=f"belongs to the checkout {tmp_path} .*Run 'make teardown' there first"):
        theirs.check()
    (lab.spec.run_dir / "source" / "init").write_text("1 0\n")
    theirs.check()  # its processes are gone


def test_only_root_may_touch_the_lab(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="needs root: run as root or with sudo"):
        lab.check()


@pytest.fixture
def booted(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab that is complete; its hosts are shells with a child as PID 1, and need neither namespaces nor cgroups."""
    shells = []

    def boot(self: Lab, host: Host) -> int:
        ready = self.spec.state_dir / host.name / "ready"
        ready.parent.mkdir(exist_ok=True)
        shells.append(subprocess.Popen(["sh", "-c", f": > {ready}; sleep 60; :"]))
        return shells[-1].pid

    monkeypatch.setattr(Lab, "_boot", boot)
    (lab.spec.state_dir / "ssh").mkdir(parents=True)
    for name in ("boot.sh", "sshd_config", "ssh/host_source"):
        (lab.spec.state_dir / name).write_text("as written first\n")
    mend(lab)
    yield lab
    for host in lab.spec.hosts:
        lab._stop_host(host)
    for shell in shells:
        shell.wait()


def mend(lab: Lab) -> list[str]:
    done = []
    for step in lab.steps():
        step.do()
        done.append(step.what)
    return done


def test_hosts_restart_for_a_configuration_that_they_were_not_booted_with(booted: Lab) -> None:
    assert mend(booted) == []
    first = [booted.init_pid(host) for host in booted.spec.hosts]
    for changed in ("sshd_config", "ssh/host_source"):
        # As after an interruption between the files and the restart: nothing else says that there was a change.
        (booted.spec.state_dir / changed).write_text("as written later\n")
        assert mend(booted) == [
            f"restart of {name}: its configuration has changed" for name in ("source", "destination")
        ]
        assert mend(booted) == []
    assert not {*first} & {booted.init_pid(host) for host in booted.spec.hosts}
    (booted.spec.state_dir / "source" / "log").write_text("What a host writes is no configuration.")
    (booted.spec.state_dir / ".#source.lck").write_text("Nor is the lock that systemd-nspawn keeps of its folder.")
    (booted.spec.run_dir / "destination" / "configuration").unlink()
    assert mend(booted) == ["restart of destination: its configuration has changed"]


def test_a_host_boots_the_machines_files_or_its_own(lab: Lab) -> None:
    of_machine, of_its_own = lab.spec.hosts[0], replace(lab.spec.hosts[0], os="debian-13")
    namespaces = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
    netns = lab_module.NETNS_DIR / "vcsp-source"
    assert lab._boot_command(of_machine) == [
        *("nsenter", f"--net={netns}", *namespaces, "--cgroup"),
        *("/bin/sh", f"{lab.spec.state_dir}/boot.sh", "source", "198.18.0.11"),
    ]
    assert lab._boot_command(of_its_own) == [
        *namespaces,
        *("/bin/sh", f"{lab.spec.state_dir}/system.sh", "source", str(netns)),
    ]


def test_check_mode_predicts_every_step(booted: Lab) -> None:
    booted._stop_host(booted.spec.hosts[0])
    (booted.spec.state_dir / "boot.sh").write_text("as written later\n")
    predicted = [step.what for step in booted.steps()]
    assert predicted == ["host source", "restart of destination: its configuration has changed"]
    assert mend(booted) == predicted


def test_a_host_whose_boot_was_interrupted_is_booted_again(booted: Lab) -> None:
    (booted.spec.state_dir / "source" / "ready").unlink()
    before = booted.init_pid(booted.spec.hosts[0])
    assert mend(booted) == ["host source"]
    assert before is not None
    assert start_time(before) is None, "the half-booted host has ended"


def test_a_network_whose_making_was_interrupted_is_completed(
    lab: Lab, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lab, "_start_host", lambda _self, _host: None)
    mend(lab)
    made, whole = 1000 - network.breaks_after, network.devices
    assert {device for _netns, device in whole} == {
        *("lo", "bridge", "controller", "source", "destination", "vcsp-ctl", "mgmt0")
    }
    for number in range(made):
        shutil.rmtree(network.namespaces)
        network.devices, network.breaks_after = {}, number
        with pytest.raises(KeyboardInterrupt):
            mend(lab)
        network.breaks_after = 1000
        mend(lab)
        assert {name: {*said} for name, said in network.devices.items()} == {
            name: {*said} for name, said in whole.items()
        }, f"interrupted after {number} changes"


def test_a_network_gets_the_addresses_that_are_asked_for_now(
    lab: Lab, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lab, "_start_host", lambda _self, _host: None)
    mend(lab)
    other = Lab(replace(lab.spec, controller_address="198.18.0.2"), network.run)
    predicted = [step.what for step in other.steps()]
    assert predicted[0] == "management link of controller"
    assert mend(other) == predicted
    addresses = [word for said in network.devices.values() for word in said if word.startswith("198.18.")]
    assert "198.18.0.2/24" in addresses
    assert "198.18.0.1/24" not in addresses
