# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Strangers' inventories, shells and hosts: refused in one sentence, before anything is touched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = ROOT / "playbooks"
EVERY_PLAYBOOK = sorted({*PLAYBOOKS.glob("*.yml")} - {PLAYBOOKS / "report.yml"})
# The doctor has the gate's words in its list.
GATED = [path for path in EVERY_PLAYBOOK if path.name != "doctor.yml"]


def without_our_settings(*arguments: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """ansible-playbook as in the shell of somebody who has never heard of this checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    command = [sys.executable, "-m", "ansible", "playbook", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env={**environment, **variables}, capture_output=True, text=True)


def two_hosts(directory: Path, **source: Any) -> Path:
    """An inventory of two hosts that are this machine, where nothing is installed."""
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    destination = {"testbed_migration_address": "192.0.2.12", "testbed_source_uri": "qemu+ssh://root@node1/system"}
    hosts = {
        "vars": {**local, "testbed_image_transfer_dir": str(directory), "hypervisor_dir": str(directory / "made")},
        "children": {
            "image_builder": {"hosts": {"node2": {}}},
            "hypervisors": {
                "children": {
                    "source_host": {"hosts": {"node1": source}},
                    "destination_host": {"hosts": {"node2": destination}},
                }
            },
        },
    }
    path = directory / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": hosts}))
    return path


@pytest.mark.parametrize("playbook", [ROOT / "experiment.yml", *GATED], ids=lambda path: path.name)
def test_every_playbook_begins_with_the_gate(playbook: Path) -> None:
    def first_play(path: Path) -> Any:
        play = yaml.safe_load(path.read_text())[0]
        imported = play.get("ansible.builtin.import_playbook")
        return first_play(path.parent / imported) if imported else path.name

    assert first_play(playbook) == "gate.yml"


def test_no_play_decides_who_is_root() -> None:
    """A play's become would beat --become and the inventory."""
    texts = {path.name: path.read_text() for path in (ROOT / "experiment.yml", *PLAYBOOKS.glob("*.yml"))}
    assert [name for name, text in texts.items() if re.search(r"^ *become:", text, re.MULTILINE)] == []


@pytest.mark.parametrize(
    ("inventory", "arguments"),
    [
        ("[hypervisors]\nnode1\nnode2\n", ()),
        ("", ()),
        ("[web]\nnode1\n", ("--limit", "node1")),
        ("", ("--tags", "packages")),
    ],
    ids=["production", "empty", "limited", "tagged"],
)
def test_a_foreign_inventory_is_refused_in_one_sentence(
    tmp_path: Path, inventory: str, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "hosts").write_text(inventory)
    done = without_our_settings(
        ROOT / "experiment.yml", *arguments, cwd=tmp_path, ANSIBLE_INVENTORY=str(tmp_path / "hosts")
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "This inventory is no testbed: group source_host has no host" in done.stdout
    assert f"Give the testbed's inventory with -i: {ROOT}/inventory/local" in done.stdout
    assert "TASK" not in done.stdout.replace("TASK [Refuse an inventory that is no testbed]", "")


@pytest.mark.parametrize("playbook", EVERY_PLAYBOOK, ids=lambda path: path.name)
def test_no_hosts_at_all_are_an_error(tmp_path: Path, playbook: Path) -> None:
    done = without_our_settings(playbook, cwd=tmp_path, ANSIBLE_CONFIG="/nowhere", ANSIBLE_STRATEGY="free")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "This inventory is no testbed" in done.stdout


def test_one_host_that_does_not_answer_keeps_the_other_untouched(tmp_path: Path) -> None:
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    done = without_our_settings(PLAYBOOKS / "provision.yml", "-i", two_hosts(tmp_path, **away), cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "node1 does not answer" in done.stdout
    assert not (tmp_path / "made").exists()


def test_a_machine_without_ssh_leaves_all_hosts_untouched(tmp_path: Path) -> None:
    inventory = two_hosts(tmp_path, ansible_connection="ssh", ansible_ssh_executable="/nowhere/ssh")
    done = without_our_settings(PLAYBOOKS / "provision.yml", "-i", inventory, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "node1 does not answer" in done.stdout
    assert "No such file or directory: b'/nowhere/ssh'" in " ".join(done.stdout.split())
    assert "PLAY [Turn the hosts into migration hosts]" not in done.stdout


def test_two_hosts_between_which_no_guest_can_move_are_refused_with_all_that_is_wrong(tmp_path: Path) -> None:
    done = without_our_settings(PLAYBOOKS / "provision.yml", "-i", two_hosts(tmp_path), cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "the destination does not have the migration address 192.0.2.12" in done.stdout
    assert "source and destination are the same host" in done.stdout
    assert "PLAY [Turn the hosts into migration hosts]" not in done.stdout
    assert not (tmp_path / "made").exists()


def test_tags_choose_parts_of_the_preparation(tmp_path: Path) -> None:
    # Both hosts are this machine, which is no pair.
    parts = ("--tags", "packages", "--skip-tags", "pair")
    arguments = ("-i", two_hosts(tmp_path), *parts, "--check", "-e", "hypervisor_service_managed=false")
    done = without_our_settings(PLAYBOOKS / "provision.yml", *arguments, cwd=tmp_path)
    assert "hypervisor : Facts" in done.stdout, done.stdout + done.stderr
    assert "TASK [vcsp.testbed.hypervisor : Prefetch program]" not in done.stdout


def test_a_host_without_python_is_told_what_to_install(tmp_path: Path) -> None:
    inventory = two_hosts(tmp_path, ansible_python_interpreter="/nowhere/python3")
    done = without_our_settings(PLAYBOOKS / "provision.yml", "-i", inventory, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "node1 has no /nowhere/python3" in done.stdout
    assert "apt-get install python3" in done.stdout
    assert not (tmp_path / "made").exists()
