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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have the embedded lab")
def test_the_preflight_only_looks_and_refuses_the_lab_of_another_checkout(playbooks: Any, tmp_path: Path) -> None:
    state, run = tmp_path / "lib" / "lab", tmp_path / "run" / "lab"
    lab = {
        "_local_lab_requirements": [],
        "packages_installed": {},
        "local_lab_state_dir": str(state),
        "local_lab_run_dir": str(run),
    }
    preflight = {"ansible.builtin.include_role": {"name": "vcsp.testbed.local_lab", "tasks_from": "preflight.yml"}}

    done = playbooks.run([preflight], "-v", "-e", json.dumps(lab))
    assert done.returncode == 0, done.stdout
    assert "owner: null" in done.stdout
    assert "running: []" in done.stdout
    assert not state.exists()
    assert not run.exists()

    (run / "source").mkdir(parents=True)
    (run / "source" / "init").write_text(f"{os.getpid()} {start_time(os.getpid())}\n")
    (run / "lab.json").write_text(json.dumps({"checkout": str(tmp_path / "lib"), "created_at": "today"}))
    (tmp_path / "lib").mkdir()
    refused = playbooks.run([preflight], "-e", json.dumps(lab))
    assert refused.returncode == 2
    assert "Run 'make teardown' there first" in " ".join(refused.stdout.split())
