# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hosts with an operating system of their own, from nothing to trials with every method, and to nothing again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from .conftest import ROOT, changes, playbook, records, write_scenario

pytestmark = pytest.mark.long
INVENTORY = ROOT / "inventory" / "systemd"
LAB = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["vars"]
FOLDERS = [Path(LAB[name]) for name in ("local_lab_state_dir", "local_lab_run_dir")]


def left() -> list[str]:
    """What there is of this lab on the machine."""
    name, found = LAB["local_lab_name"], [str(folder) for folder in FOLDERS if folder.exists()]
    for command in (["ps", "-eo", "args"], ["ip", "netns"], ["ip", "-o", "link"], ["cat", "/proc/self/mounts"]):
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        found += [line for line in lines if f"{name}-" in line or any(str(folder) in line for folder in FOLDERS)]
    return [*found, *map(str, Path("/sys/fs/cgroup").glob(f"**/{name}"))]


# Not debian-13-backports, whose QEMU refuses the way in which its libvirt restores a saved guest.
@pytest.fixture(params=["debian-12", "debian-13"])
def hosts(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Options that choose a lab whose hosts run a system of their own."""
    options = ["-i", str(INVENTORY), "-e", f"testbed_lab_os={request.param}"]
    assert left() == []
    try:
        yield options
    finally:
        done = playbook("playbooks/teardown.yml", *options)
    assert done.returncode == 0, done.stdout
    assert left() == []


def test_bare_hosts_are_provisioned_and_migrate(hosts: list[str], tmp_path: Path) -> None:
    made = playbook("playbooks/lab.yml", *hosts, timeout_s=1200)
    assert made.returncode == 0, made.stdout
    first = playbook("playbooks/provision.yml", *hosts, timeout_s=1200)
    assert first.returncode == 0, first.stdout
    assert changes(first.stdout)["source"] > 0
    for again in ("playbooks/lab.yml", "playbooks/provision.yml"):
        done = playbook(again, *hosts, "-v")
        assert done.returncode == 0, done.stdout
        assert set(changes(done.stdout).values()) == {0}, done.stdout
    scenario, results = write_scenario(tmp_path), tmp_path / "results"
    trials = ["-e", f"scenario={scenario}", "-e", f"results_dir={results}"]
    done = playbook("experiment.yml", *hosts, *trials, timeout_s=1200)
    assert done.returncode == 0, done.stdout
    for name, record in records(results).items():
        assert record["validity"] == {"valid": True, "reasons": []}, name
        requests = record["measurements"]["page_requests"]
        print(name, record["provenance"], requests)
