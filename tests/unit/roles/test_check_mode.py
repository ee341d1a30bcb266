# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check mode where nothing is installed: predicted, or skipped with a reason. (test_booleans has the hypervisor.)"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


def test_check_mode_is_the_users_choice_and_no_query() -> None:
    files = [path for folder in ("roles", "playbooks") for path in (ROOT / folder).rglob("*.yml")]
    assert [path for path in files if "check_mode: true" in path.read_text()] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have the embedded lab")
def test_a_lab_without_its_packages_is_predicted(playbooks: Any, tmp_path: Path) -> None:
    machine = {
        "_local_lab_requirements": [],
        "_local_lab_units_dir": str(tmp_path / "none" / "units"),
        "packages_installed": {},
        "local_lab_name": "never",
        "local_lab_state_dir": str(tmp_path / "none" / "state"),
        "local_lab_run_dir": str(tmp_path / "none" / "run"),
    }
    lab = {"ansible.builtin.include_role": {"name": "vcsp.testbed.local_lab"}}
    done = playbooks.run([lab], "--check", "-e", json.dumps(machine))
    assert done.returncode == 0, done.stdout
    assert "Would install openssh-server" in done.stdout
    assert "Would make the lab, once it has its packages" in done.stdout
    assert not (tmp_path / "none").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have the embedded lab")
@pytest.mark.parametrize("there", [[], ["state/ssh"]], ids=["nothing", "folders only"])
def test_a_lab_that_does_not_exist_yet_is_predicted(playbooks: Any, tmp_path: Path, there: list[str]) -> None:
    for name in there:
        (tmp_path / "none" / name).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    machine = {
        "_local_lab_requirements": [],
        "_local_lab_missing_packages": [],
        "local_lab_name": "never",
        "local_lab_state_dir": str(tmp_path / "none" / "state"),
        "local_lab_run_dir": str(tmp_path / "none" / "run"),
    }
    lab = {"ansible.builtin.include_role": {"name": "vcsp.testbed.local_lab"}}
    done = playbooks.run([lab], "--check", "-v", "-e", json.dumps(machine))
    assert done.returncode == 0, done.stdout
    for step in ("claim the lab", "network namespace never-destination", "migration link", "host destination"):
        assert f"- {step}\n" in done.stdout
    assert not [path for path in tmp_path.rglob("none/**/*") if path not in before]


def test_a_guest_without_libvirt_is_skipped_with_the_reason(playbooks: Any, tmp_path: Path) -> None:
    ours = {"trial_source": "localhost", "trial_destination": "localhost", "trial_guest_name": "nobody"}
    trial = {
        **dict.fromkeys(
            ["trial_source_uri", "trial_migration_address", "trial_state_dir", "trial_prefetch_program"], "x"
        ),
        "trial_plan": {"id": "r01-post-copy"},
        "trial_experiment": {},
    }
    guest = {"guest_workloads": [{"window_mb": 8, "pattern": "random"}], "guest_states_dir": str(tmp_path / "none")}
    tasks = [
        {"ansible.builtin.include_role": {"name": "vcsp.testbed.guest"}, "vars": guest},
        {"ansible.builtin.include_role": {"name": "vcsp.testbed.trial", "tasks_from": "cleanup.yml"}, "vars": ours},
        {"ansible.builtin.include_role": {"name": "vcsp.testbed.trial"}, "vars": {**ours, **trial}},
    ]
    # This Python, unlike the distribution's, never has libvirt's binding.
    done = playbooks.run(tasks, "--check", ansible_python_interpreter=sys.executable)
    assert done.returncode == 0, done.stdout
    assert "python3-libvirt" in done.stdout
    assert "Would run trial r01-post-copy." in done.stdout
