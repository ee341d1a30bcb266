# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes ansible_collections.vcsp.testbed importable, as Ansible does it: through the links under collections/.

Also a way to run a playbook, which the tests of plugins and roles share.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

ROOT = Path(__file__).resolve().parents[2]

# No machine is too slow for a property to hold.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

_AnsibleCollectionFinder(paths=[str(ROOT / "collections")])._install()


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
