# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The query that the role asks before it touches the machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._lab.processes import start_time

PREFLIGHT = {"ansible.builtin.include_role": {"name": "vcsp.testbed.local_lab", "tasks_from": "preflight.yml"}}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have the embedded lab")
@pytest.mark.parametrize(
    ("system", "said"),
    [
        ("debian-11", "value of os must be one of: machine, debian-12, debian-13, debian-13-backports, got: debian-11"),
        ("debian-13", "debian-13 need a mirror of Debian that is reached by http or https"),
    ],
    ids=["unknown", "without a mirror"],
)
def test_the_preflight_refuses_a_system_that_cannot_be_made(
    playbooks: Any, tmp_path: Path, system: str, said: str
) -> None:
    lab = {
        "_local_lab_requirements": [],
        "packages_installed": {},
        "local_lab_state_dir": str(tmp_path / "none" / "state"),
        "local_lab_run_dir": str(tmp_path / "none" / "run"),
        "local_lab_hosts": [
            {"name": name, "os": system, "management_address": f"192.0.2.{n}", "migration_address": f"198.51.100.{n}"}
            for n, name in enumerate(("source", "destination"), 11)
        ],
        "local_lab_controller_address": "192.0.2.1",
    }
    lab["guest_image_source"] = ""  # what is found in the apt sources of a machine that has none of Debian's
    done = playbooks.run([PREFLIGHT], "-e", json.dumps(lab))
    assert done.returncode == 2
    assert said in " ".join(done.stdout.split())
    assert not (tmp_path / "none").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have the embedded lab")
def test_the_preflight_only_looks_and_refuses_the_lab_of_another_checkout(playbooks: Any, tmp_path: Path) -> None:
    state, run = tmp_path / "lib" / "lab", tmp_path / "run" / "lab"
    lab = {
        "_local_lab_requirements": [],
        "packages_installed": {},
        "local_lab_state_dir": str(state),
        "local_lab_run_dir": str(run),
    }
    done = playbooks.run([PREFLIGHT], "-v", "-e", json.dumps(lab))
    assert done.returncode == 0, done.stdout
    assert "owner: null" in done.stdout
    assert "running: []" in done.stdout
    assert not state.exists()
    assert not run.exists()

    (run / "source").mkdir(parents=True)
    (run / "source" / "init").write_text(f"{os.getpid()} {start_time(os.getpid())}\n")
    (run / "lab.json").write_text(json.dumps({"checkout": str(tmp_path / "lib"), "created_at": "today"}))
    (tmp_path / "lib").mkdir()
    refused = playbooks.run([PREFLIGHT], "-e", json.dumps(lab))
    assert refused.returncode == 2
    assert "Run 'make teardown' there first" in " ".join(refused.stdout.split())
