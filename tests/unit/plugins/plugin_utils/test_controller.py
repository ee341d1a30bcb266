# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which checkout an experiment was run from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment import controller


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(controller, "COLLECTION_ROOT", tmp_path / "checkout")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for name in ("checkout", "other"):
        subprocess.run(["git", "init", "--quiet", tmp_path / name], check=True)
        commit = [*git, "commit", "--quiet", "--allow-empty", "--message", name]
        subprocess.run(commit, cwd=tmp_path / name, check=True)
    return tmp_path / "checkout"


def test_a_shell_that_works_on_another_repository(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = controller.provenance()["commit"]
    monkeypatch.setenv("GIT_DIR", str(checkout.with_name("other") / ".git"))
    assert ours is not None
    assert controller.provenance()["commit"] == ours


def test_a_machine_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    provenance = controller.provenance()
    assert (provenance["commit"], provenance["dirty"]) == (None, None)
