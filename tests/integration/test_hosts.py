# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hosts with an operating system of their own, from nothing to trials with every method, and to nothing again."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import BIN, EVERY_METHOD, ROOT, Done, changes, environment, playbook, records, write_scenario

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


# Source and destination: each system by itself, and an older one whose guests move to a newer one.
@pytest.fixture(
    scope="module",
    params=[
        ("debian-12", "debian-12"),
        ("debian-13", "debian-13"),
        ("debian-13-backports", "debian-13-backports"),
        ("debian-12", "debian-13-backports"),
    ],
    ids=lambda systems: "-to-".join(dict.fromkeys(systems)),
)
def hosts(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Options that choose a lab whose hosts run systems of their own, made and provisioned from nothing."""
    source, destination = request.param
    systems = ["-e", f"testbed_lab_os={source}", "-e", f"testbed_lab_destination_os={destination}"]
    options = ["-i", str(INVENTORY), *systems]
    assert left() == []
    try:
        for first in ("playbooks/lab.yml", "playbooks/provision.yml"):
            begun = time.monotonic()
            done = playbook(first, *options, "-v", timeout_s=1200)  # which has the recap
            assert done.returncode == 0, done.stdout
            print(f"{first}: {time.monotonic() - begun:.0f} s")
        assert changes(done.stdout)["source"] > 0
        yield options
    finally:
        done = playbook("playbooks/teardown.yml", *options)
    assert done.returncode == 0, done.stdout
    assert left() == []


def experiment(hosts: list[str], folder: Path, **settings: Any) -> tuple[Done, Path]:
    """Run the smallest scenario with every method and other settings; the playbook, and where its results are."""
    scenario, results = write_scenario(folder, **settings), folder / "results"
    trials = ["-e", f"scenario={scenario}", "-e", f"results_dir={results}"]
    done = playbook("experiment.yml", *hosts, *trials, timeout_s=1200)
    return done, results


def check(results: Path, accelerator: str) -> None:
    """Every method has a valid trial, of a guest with this accelerator and the board of the older host."""
    found = records(results)
    assert set(found) == set(EVERY_METHOD["methods"])
    for name, record in found.items():
        assert record["validity"] == {"valid": True, "reasons": []}, name
        source, destination = (record["provenance"][host] for host in ("source", "destination"))
        assert source["accelerator"]["name"] == accelerator
        assert source["machine"] == source["machines"][0]
        assert source["machine"] in destination["machines"]
        measured = record["measurements"]
        figures = {key: measured[key] for key in ("downtime_ms", "total_migration_time_s", "page_requests")}
        print(source["qemu"]["version"], destination["qemu"]["version"], source["machine"], name, figures)


def test_a_second_run_changes_nothing(hosts: list[str]) -> None:
    for again in ("playbooks/lab.yml", "playbooks/provision.yml"):
        done = playbook(again, *hosts, "-v")
        assert done.returncode == 0, done.stdout
        assert set(changes(done.stdout).values()) == {0}, done.stdout


def test_a_libvirtd_that_ended_because_it_was_idle_is_no_change(hosts: list[str]) -> None:
    stop = ["-m", "ansible.builtin.command", "-a", "systemctl stop libvirtd.service"]
    subprocess.run([BIN / "ansible", "hypervisors", *hosts, *stop], cwd=ROOT, env=environment(), check=True)
    done = playbook("playbooks/provision.yml", *hosts, "-v", "--tags", "service")
    assert done.returncode == 0, done.stdout
    assert set(changes(done.stdout).values()) == {0}, done.stdout


# A checkout whose nights are red at once, and who is told of it.
NIGHT = "#!/bin/sh\n{ pwd; echo $*; } >/run/night\nexit 1\n"
TELL = "[Service]\nType=oneshot\nExecStart=/usr/bin/touch /run/told\n"
NIGHTLY = """
- name: Run a night as systemd does
  hosts: source_host
  gather_facts: false
  tasks:
    - name: Make folders
      ansible.builtin.file: {path: /opt/nights/.venv/bin, state: directory, mode: "0755"}
    - name: Put a program there
      ansible.builtin.copy: {dest: "{{ item.path }}", content: "{{ item.text }}", mode: "0755"}
      loop:
        - {path: /opt/nights/.venv/bin/python, text: "{{ night }}"}
        - {path: /etc/systemd/system/tell.service, text: "{{ tell }}"}
    - name: Make service and timer
      ansible.builtin.include_role: {name: vcsp.testbed.nightly}
      vars: {nightly_checkout: /opt/nights, nightly_on_failure: tell.service, nightly_scenario: nightly-bare}
    - name: Run a night
      ansible.builtin.command: systemctl start vcsp-nightly.service
      register: run
      failed_when: run.rc == 0
    - name: Wait until its end was told
      ansible.builtin.wait_for: {path: /run/told, timeout: 30}
    - name: See what ran, and when it will again
      ansible.builtin.shell: |
        cat /run/night && systemctl is-active vcsp-nightly.timer && systemctl list-timers --all --no-legend
      register: seen
    - name: Say so
      ansible.builtin.debug: {msg: "{{ seen.stdout_lines }}"}
"""


def test_systemd_runs_the_nights_and_tells_of_a_red_one(hosts: list[str], tmp_path: Path) -> None:
    (tmp_path / "night.yml").write_text(NIGHTLY)
    given = json.dumps({"night": NIGHT, "tell": TELL})
    done = playbook(str(tmp_path / "night.yml"), *hosts, "-e", given)
    assert done.returncode == 0, done.stdout
    assert "/opt/nights" in done.stdout and "-m analysis nightly run --scenario nightly-bare" in done.stdout
    assert re.search(r"\bactive\b", done.stdout) and "vcsp-nightly.timer" in done.stdout


def test_every_method_migrates_a_guest(hosts: list[str], tmp_path: Path) -> None:
    done, results = experiment(hosts, tmp_path, guest={"accelerator": "tcg"})
    assert done.returncode == 0, done.stdout
    check(results, "tcg")


@pytest.fixture(scope="module")
def ran_under_kvm() -> list[str]:
    """Those of the systems, so far, on which KVM ran the bare guest: then it must on each."""
    return []


def test_every_method_migrates_a_bare_guest_under_kvm(
    hosts: list[str], ran_under_kvm: list[str], tmp_path: Path
) -> None:
    if not Path("/dev/kvm").exists():
        pytest.skip("this machine has no /dev/kvm")
    done, results = experiment(hosts, tmp_path, guest={"system": "bare", "accelerator": "kvm", "memory_mb": 64})
    said = " ".join(done.stdout.split())
    refused = re.search(r"KVM does not run a bare guest \(([^)]*)\)", said)
    # The older of two libvirts may not know a feature of the newer one's CPU.
    if refused and ("Unknown CPU feature" in refused[1] or not ran_under_kvm):
        pytest.skip(f"KVM does not run it on these hosts: {refused[1]}")
    assert done.returncode == 0, done.stdout
    check(results, "kvm")
    ran_under_kvm += hosts
