# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the plugin tests share: a scenario, a trial's result, and a way to run a playbook."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def scenario() -> dict[str, Any]:
    """A small scenario, as a user would write it."""
    return {"name": "small", "repeats": 1, "workloads": [{"window_mb": 8}], "methods": ["post-copy", "vcsp"]}


class Playbooks:
    """Runs playbooks on this machine in their own directory, with the checkout's ansible.cfg."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "PYTHONIOENCODING": "utf-8",
        }
        (directory / "inventory").write_text("localhost ansible_connection=local\n")

    def command(self, plays: list[dict[str, Any]], *arguments: str) -> list[str]:
        (self.directory / "playbook.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
        return [sys.executable, "-m", "ansible", "playbook", "-i", "inventory", "playbook.yml", *arguments]

    def run(self, tasks: list[dict[str, Any]], *arguments: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        play = {"name": "Test", "hosts": "localhost", "vars": variables, "tasks": tasks}
        return subprocess.run(
            self.command([play], *arguments),
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def playbooks(tmp_path: Path) -> Playbooks:
    return Playbooks(tmp_path)


@pytest.fixture
def trial_result() -> Callable[..., dict[str, Any]]:
    """Make what the migration module returns for a good trial."""

    def make(**changes: Any) -> dict[str, Any]:
        return {
            "started_at": "2026-01-02T03:04:05Z",
            "ended_at": "2026-01-02T03:04:15Z",
            "events": [{"host": "source", "name": "STOP", "data": {}, "time_s": -0.01}],
            "clock_offset": {"offset_ms": 0.1, "bound_ms": 0.2},
            "measurements": {"total_migration_time_s": 2.125},
            "instruments": {"schedstat": {"present": True, "reason": None, "values": {"page_wait_ms": 900}}},
            "memory_verified": True,
            "validity": {"valid": True, "reasons": []},
            "files": {},
            **changes,
        }

    return make
