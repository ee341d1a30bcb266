# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The collection as a whole: its links, its documentation, and its roles' arguments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LINKS = ROOT / "collections" / "ansible_collections" / "vcsp" / "testbed"
ROLES = sorted(path.parent for path in (ROOT / "roles").glob("*/meta"))
PLUGINS = {
    kind: sorted({f"vcsp.testbed.{path.stem}" for path in (ROOT / "plugins" / folder).glob("*.*")})
    for kind, folder in (("module", "modules"), ("callback", "callback"), ("filter", "filter"), ("lookup", "lookup"))
}


def test_links_are_relative_and_lead_into_the_checkout() -> None:
    for link in LINKS.iterdir():
        assert link.is_symlink(), link
        assert link.readlink() == Path("../../../..") / link.name


def test_everything_that_a_collection_has_is_linked() -> None:
    wanted = {"plugins", "roles", "playbooks", "meta", "galaxy.yml", "analysis", "scenarios", "tests", "README.md"}
    assert wanted <= {link.name for link in LINKS.iterdir()}


@pytest.mark.parametrize("kind", [kind for kind, names in PLUGINS.items() if names])
def test_ansible_doc_renders_every_plugin(kind: str) -> None:
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    run = subprocess.run(
        [sys.executable, "-m", "ansible", "doc", "--json", "--type", kind, *PLUGINS[kind]],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    documented = json.loads(run.stdout)
    assert sorted(documented) == PLUGINS[kind]
    for name, plugin in documented.items():
        assert plugin["doc"]["short_description"], name
        if kind != "callback":
            assert plugin["examples"], name
            assert plugin["return"], name


def test_every_action_is_documented() -> None:
    for action in (ROOT / "plugins" / "action").glob("*.py"):
        assert f"vcsp.testbed.{action.stem}" in PLUGINS["module"]


def test_the_action_group_has_every_module() -> None:
    (group,) = read(ROOT / "meta" / "runtime.yml")["action_groups"].values()
    assert [f"vcsp.testbed.{name}" for name in group] == PLUGINS["module"]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_argument_specs_equal_the_defaults(role: Path) -> None:
    specs = read(role / "meta" / "argument_specs.yml")
    assert specs, f"{role.name} has no meta/argument_specs.yml"
    defaults = read(role / "defaults" / "main.yml") or {}
    specified: dict[str, Any] = {}
    for entry in specs["argument_specs"].values():
        for name, option in (entry.get("options") or {}).items():
            assert name.startswith(f"{role.name}_"), f"{name}: does not say which role owns it"
            assert not ("default" in option and option.get("required")), (
                f"{name}: required, so its default is never used"
            )
            if "default" in option:
                assert specified.setdefault(name, option["default"]) == option["default"], f"{name}: two defaults"
    assert specified == defaults


def test_the_front_door_imports_the_experiment_and_nothing_else() -> None:
    (play,) = read(ROOT / "experiment.yml")
    assert play["ansible.builtin.import_playbook"] == "playbooks/experiment.yml"


def test_requirements_are_exact() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = [line for line in (ROOT / name).read_text().splitlines() if line and line[0] not in "#-"]
        assert all(line.count("==") == 1 for line in lines), name
