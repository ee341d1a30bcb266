# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ansible-builder finds in the collection, as it is built, for a container image of the controller."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from bindep.depends import Depends

ROOT = Path(__file__).resolve().parents[2]
# An image brings these itself.
PROVIDED = {"ansible", "ansible-core", "PyYAML"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The Python and system dependencies, without the comments that say where they are from."""
    directory = tmp_path_factory.mktemp("image")
    collection = directory / "ansible_collections" / "vcsp" / "testbed"
    galaxy = [sys.executable, "-m", "ansible", "galaxy", "collection", "build", str(ROOT)]
    subprocess.run([*galaxy, "--output-path", str(directory)], check=True, capture_output=True)
    (archive,) = directory.glob("*.tar.gz")
    with tarfile.open(archive) as built:
        built.extractall(collection, filter="data")
    introspect = [sys.executable, "-m", "ansible_builder", "introspect", str(directory)]
    done = subprocess.run(introspect, check=True, capture_output=True, text=True)
    document: dict[str, Any] = yaml.safe_load(done.stdout[done.stdout.index("---") :])
    return {kind: [line.partition("  #")[0] for line in lines] for kind, lines in document.items()}


def test_the_python_packages_are_those_of_the_requirements(found: dict[str, list[str]]) -> None:
    pinned = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line]
    assert found["python"] == [line for line in pinned if line.partition("==")[0] not in PROVIDED]


@pytest.mark.parametrize(
    ("platform", "packages"), [("dpkg", ["openssh-client", "git"]), ("rpm", ["openssh-clients", "git-core"])]
)
def test_the_programs_are_named_as_each_platform_names_them(
    found: dict[str, list[str]], platform: str, packages: list[str]
) -> None:
    rules = Depends("".join(f"{line}\n" for line in found["system"])).active_rules([f"platform:{platform}"])
    assert [name for name, _selectors, _versions in rules] == packages
