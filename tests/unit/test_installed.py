# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The collection as its users install it: built, with the collections that it depends on and no others."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import ansible
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
# Those that come with the Python package "ansible".
AVAILABLE = Path(ansible.__file__).parents[1] / "ansible_collections"
DECLARED = set(yaml.safe_load((ROOT / "galaxy.yml").read_text())["dependencies"])
# What looks like the full name of a plugin: collection, name.
NAMES = {
    match
    for folder in ("roles", "playbooks")
    for path in (ROOT / folder).rglob("*.yml")
    for match in re.findall(r"(?<![\w.])([a-z]\w*\.[a-z]\w*)\.([a-z]\w*)", path.read_text())
}
# A lab of hosts that do not answer, apart from one that this machine may have.
NOWHERE = {
    "ansible_port": 1,
    "local_lab_name": "nowhere",
    "local_lab_controller_address": "127.0.0.1",
    "local_lab_hosts": [
        {"name": name, "management_address": f"127.0.0.{number}", "migration_address": f"192.0.2.{number}"}
        for name, number in (("source", 11), ("destination", 12))
    ],
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of collections of a user who has just installed this one."""
    path = tmp_path_factory.mktemp("user") / "collections"
    built = path.parent / "built"
    galaxy("build", "--output-path", built, cwd=ROOT, collections=path)
    (tarball,) = built.iterdir()
    galaxy("install", "--no-deps", "--offline", "-p", path, tarball, cwd=built, collections=path)
    for namespace, name in (collection.split(".") for collection in DECLARED):
        link = path / "ansible_collections" / namespace / name
        link.parent.mkdir()
        link.symlink_to(AVAILABLE / namespace / name)
    return path


def galaxy(*arguments: str | Path, cwd: Path, collections: Path) -> None:
    done = run("galaxy", "collection", *arguments, cwd=cwd, collections=collections)
    assert done.returncode == 0, done.stderr


def run(program: str, *arguments: str | Path, cwd: Path, collections: Path) -> subprocess.CompletedProcess[str]:
    """One of Ansible's programs, where these collections are all there are."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment |= {"ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false"}
    command = [sys.executable, "-m", "ansible", program, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment | {"ANSIBLE_CONFIG": "/nowhere"}, capture_output=True, text=True
    )


def test_the_declared_collections_are_the_ones_used() -> None:
    used = {collection for collection, _name in NAMES if (AVAILABLE / collection.replace(".", "/")).is_dir()}
    assert used == DECLARED


def test_their_modules_are_found_and_no_others(installed: Path, tmp_path: Path) -> None:
    modules = {f"{collection}.{name}" for collection, name in NAMES if collection in DECLARED}
    wanted = ("doc", "--json", "--type", "module", *modules, "community.general.xml")
    assert json.loads(run(*wanted, cwd=tmp_path, collections=installed).stdout).keys() == modules


def test_it_has_what_a_collection_needs_and_nothing_of_the_checkout(installed: Path) -> None:
    collection = installed / "ansible_collections" / "vcsp" / "testbed"
    unwanted = (".git", ".venv", "benchmarks", "collections", "playbooks/collections", "results")
    assert [name for name in unwanted if (collection / name).exists()] == []
    guard = collection / "playbooks" / "callback_plugins" / "vcsp_guard.py"
    assert guard.read_bytes() == (ROOT / "plugins" / "callback" / "guard.py").read_bytes()


def test_an_experiment_starts_from_any_directory(installed: Path, tmp_path: Path) -> None:
    """In check mode, to the end or to what this machine lacks, be it only that an experiment is running here."""
    state = tmp_path / "state"
    (state / "ssh").mkdir(parents=True)
    variables: dict[str, Any] = {
        **NOWHERE,
        "local_lab_state_dir": str(state),
        "local_lab_run_dir": str(tmp_path / "run"),
    }
    done = run(
        *("playbook", "vcsp.testbed.experiment", "--check", "-v", "-e", json.dumps(variables)),
        *("-i", installed / "ansible_collections/vcsp/testbed/inventory/local"),
        cwd=tmp_path,
        collections=installed,
    )
    output = done.stdout + done.stderr
    lacking = "needs root|needs Debian|is at work here|(source|destination) does not answer"
    assert done.returncode == 0 or re.search(rf'"msg": "[^"]*({lacking})', output), output
    assert not re.search("couldn't resolve|Error loading plugin|Skipping", output), output
