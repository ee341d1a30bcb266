# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tags choose parts of the role hypervisor: they reach the tasks inside the parts, and the checks always run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

# A task inside each part.
INSIDE = {
    "packages": "Would install",
    "service": "Would start libvirtd",
    "prefetch": "Copy the program's source",
    "capabilities": "Find out what the host can do",
}


@pytest.mark.parametrize("parts", [{"packages"}, INSIDE.keys() - {"packages"}], ids=["one", "the others"])
def test_tags_run_their_parts_and_no_other(playbooks: Any, tmp_path: Path, parts: set[str]) -> None:
    """In check mode, on a machine where nothing is installed."""
    machine = {"_hypervisor_requirements": [], "packages_installed": {}, "hypervisor_dir": str(tmp_path / "none")}
    provision = {"name": "Provision", "ansible.builtin.import_role": {"name": "vcsp.testbed.hypervisor"}}
    done = playbooks.run([provision], "-v", "--check", "--tags", ",".join(parts), "-e", json.dumps(machine))
    assert done.returncode == 0, done.stdout
    assert {part for part, text in INSIDE.items() if text in done.stdout} == parts


def test_the_checks_run_whatever_the_tag(playbooks: Any) -> None:
    refusal = json.dumps({"_hypervisor_requirements": [{"that": False, "message": "No migration host."}]})
    provision = {"name": "Provision", "ansible.builtin.import_role": {"name": "vcsp.testbed.hypervisor"}}
    done = playbooks.run([provision], "--check", "--tags", "service", "-e", refusal)
    assert done.returncode != 0
    assert "No migration host." in done.stdout
