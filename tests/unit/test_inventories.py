# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The example inventories: Ansible reads each, and each passes the check with which every playbook begins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .test_gate import PLAYBOOKS, ROOT, without_our_settings

# Not the user's own.
EXAMPLES = [path.parent for path in sorted((ROOT / "inventory").glob("*/hosts.yml")) if path.parent.name != "mylab"]

each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)


def ansible(program: str, *arguments: str | Path) -> str:
    """What one of Ansible's programs says, with the checkout's settings."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    command = [sys.executable, "-m", "ansible", program, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stderr, done.stderr
    return done.stdout


def hosts(inventory: Path) -> dict[str, Any]:
    """Host -> its variables, as they are written."""
    found: dict[str, Any] = json.loads(ansible("inventory", "-i", inventory, "--list"))["_meta"]["hostvars"]
    return found


@each_example
def test_ansible_reads_it(example: Path) -> None:
    members = ("testbed_source", "testbed_destination")
    found = hosts(example)
    named = [variables[member] for variables in found.values() for member in members if member in variables]
    assert len(found.keys() - {"localhost"}) == (2 if not named else len(named) + len(named) // 2)


@each_example
def test_it_is_a_testbed(example: Path, tmp_path: Path) -> None:
    done = without_our_settings(PLAYBOOKS / "gate.yml", "-i", example, cwd=tmp_path)
    assert "This inventory is no testbed" not in done.stdout
    # The embedded labs' alone.
    user = os.geteuid() != 0 and "The embedded lab needs root" in done.stdout
    assert done.returncode == 0 or user, done.stdout + done.stderr


def test_a_runner_knows_the_hosts_by_the_keys_beside_its_inventory() -> None:
    runner = ROOT / "inventory" / "runner"
    known = runner / "known_hosts.txt"
    assert known.exists()
    show = ("-c", "local", "-m", "ansible.builtin.debug", "-a", "var=ansible_ssh_common_args")
    assert str(known) in ansible("adhoc", "node1", "-i", runner, *show)
