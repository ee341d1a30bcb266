# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The commands that follow an interrupted run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ansible_collections.vcsp.testbed.plugins.plugin_utils._console.interruption import cleanup_command, resume_command


def test_cleanup_goes_where_the_run_went() -> None:
    options = {
        "inventory": ("/lab/hosts", "/lab/more"),
        "remote_user": "admin",
        "private_key_file": None,
        "become": True,
        "extra_vars": ("scenario=paper", '{"a": "b c"}'),
        "vault_ids": [],
        "tags": ("run",),
        "check": False,
    }
    start = [sys.executable, "-m", "ansible", "playbook", "/x/cleanup.yml"]
    hosts = ["--inventory", "/lab/hosts", "--inventory", "/lab/more", "--user", "admin", "--become"]
    variables = ["--extra-vars", "scenario=paper", "--extra-vars", '{"a": "b c"}']
    assert cleanup_command("/x/cleanup.yml", options) == [*start, *hosts, *variables]
    assert cleanup_command("/x/cleanup.yml", {}) == start


def test_resume_is_the_same_command_with_the_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    began = [f"{os.getcwd()}/.venv/bin/ansible-playbook", "experiment.yml", "-e", "scenario=paper"]
    resumed = [".venv/bin/ansible-playbook", *began[1:], "-e", "experiment_id=mine"]
    assert resume_command(began, "mine") == resumed
    assert resume_command(resumed, "mine") == resumed
