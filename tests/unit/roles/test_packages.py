# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Installed packages are found with nothing but dpkg, and missing ones are installed without a question."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
TASKS = sorted((ROOT / "roles").glob("*/tasks/*.yml"))
DPKG = """installed amd64 dpkg=1.22.6, \n\
installed amd64 libaio1t64=0.3.113-8, libaio1 (= 0.3.113-8), libaio-old\n\
installed all tzdata=2025b-4, tzdata-bookworm\n\
installed i386 libbpf1=1:1.1.2-0, \n\
config-files amd64 qemu-system-x86=1:7.2, \n\
half-configured amd64 clang=1:14.0-55, \n\
"""
APT = """#!/bin/sh
{ echo "$*"; /usr/bin/env; echo "stdin: $(/usr/bin/readlink /proc/self/fd/0)"; } >> "$0.calls"
case "$*" in
  *update) ;;
  *) [ -e "$0.knows" ] || { echo "E: Unable to locate" >&2; exit 100; } ;;
esac
"""


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)
    return path


def tell(name: str, directory: Path) -> dict[str, Any]:
    copy = {"content": f"{{{{ {name} | to_json }}}}", "dest": f"{directory}/told.json", "mode": "0600"}
    return {"ansible.builtin.copy": copy, "check_mode": False}


def told(directory: Path) -> Any:
    return json.loads((directory / "told.json").read_text())


def test_nothing_but_installed_packages_counts(playbooks: Any, tmp_path: Path) -> None:
    listing = program(tmp_path / "bin" / "dpkg-query", f"#!/bin/sh\ncat <<'END'\n{DPKG}END\n")
    playbooks.environment["PATH"] = f"{listing.parent}:{playbooks.environment['PATH']}"
    tasks = [
        {"ansible.builtin.include_role": {"name": "vcsp.testbed.packages", "tasks_from": "installed.yml"}},
        tell("packages_installed", tmp_path),
    ]
    done = playbooks.run(tasks, "--check")
    assert done.returncode == 0, done.stdout
    assert told(tmp_path) == {
        "dpkg": "1.22.6",
        "libaio1t64": "0.3.113-8",
        "libaio1": "0.3.113-8",
        "libaio-old": "",
        "tzdata": "2025b-4",
        "tzdata-bookworm": "",
    }


@pytest.mark.parametrize(
    ("version", "missing"), [("1:7.2+dfsg-7+deb12u15", ["qemu-system-x86"]), ("1:8.2.2+ds-0ubuntu1", [])]
)
def test_a_qemu_that_is_too_old_is_missing(playbooks: Any, tmp_path: Path, version: str, missing: list[str]) -> None:
    names = yaml.safe_load((ROOT / "roles" / "hypervisor" / "vars" / "main.yml").read_text())
    others = [*names["_hypervisor_tool_packages"], *names["_hypervisor_header_packages"], "qemu-utils"]
    libvirt = ["libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients", "libvirt-daemon-system"]
    machine = {"packages_installed": dict.fromkeys([*others, *libvirt], "1") | {"qemu-system-x86": version}}
    facts = {"name": "vcsp.testbed.hypervisor", "tasks_from": "facts.yml", "public": True}
    tasks = [{"ansible.builtin.include_role": facts}, tell("_hypervisor_missing_packages", tmp_path)]
    done = playbooks.run(tasks, "-e", json.dumps(machine))
    assert done.returncode == 0, done.stdout
    assert told(tmp_path) == missing


@pytest.mark.parametrize("path", TASKS, ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_every_use_of_apt_waits_for_its_turn(path: Path) -> None:
    def uses(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = [use for task in tasks for use in uses(task.get("block", []))]
        return found + [task["ansible.builtin.apt"] for task in tasks if "ansible.builtin.apt" in task]

    text = path.read_text()
    assert "ansible.builtin.package_facts" not in text
    for use in uses(yaml.safe_load(text)):
        assert use["lock_timeout"] == 300
        assert "name" not in use or path == ROOT / "roles" / "packages" / "tasks" / "main.yml", "one role installs"


def test_the_installation_asks_nothing_and_starts_nothing() -> None:
    tasks = yaml.safe_load((ROOT / "roles" / "packages" / "tasks" / "main.yml").read_text())
    (installation,) = [task for task in tasks if "block" in task]
    assert installation["environment"] == {"NEEDRESTART_SUSPEND": "1"}
    assert installation["block"][-1]["ansible.builtin.apt"]["policy_rc_d"] == 101


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    return program(tmp_path / "bin" / "apt-get", APT)


def make_browser(apt: Path) -> subprocess.CompletedProcess[str]:
    make = shutil.which("make")
    assert make is not None
    environment = {**os.environ, "PATH": str(apt.parent)}
    return subprocess.run([make, "-C", ROOT, "browser"], env=environment, capture_output=True, text=True, timeout=30)


def test_the_browser_is_installed_without_a_question(apt: Path) -> None:
    Path(f"{apt}.knows").touch()
    assert make_browser(apt).returncode == 0
    arguments, *environment = Path(f"{apt}.calls").read_text().splitlines()
    assert arguments.endswith("install --no-install-recommends chromium"), "fresh lists are not refreshed"
    assert "-y -qq -o DPkg::Lock::Timeout=300" in arguments
    assert {"DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "stdin: /dev/null"} <= {*environment}


def test_lists_that_lack_the_browser_are_refreshed_once(apt: Path) -> None:
    done = make_browser(apt)
    calls = [line.split()[-1] for line in Path(f"{apt}.calls").read_text().splitlines() if line.startswith("-y ")]
    assert calls == ["chromium", "update", "chromium"]
    assert done.returncode != 0
    assert "Unable to locate" in done.stderr
    assert "apt cannot install Chromium: see above, or install it or Chrome yourself." in done.stderr


@pytest.mark.parametrize("name", ["chromium", "google-chrome"])
def test_a_browser_that_is_there_is_enough(apt: Path, name: str) -> None:
    program(apt.with_name(name), "#!/bin/sh\n")
    assert make_browser(apt).returncode == 0
    assert not Path(f"{apt}.calls").exists()
