# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the guide to real hosts says is what the code does. tests/integration/test_guide.py runs its commands."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment

from ansible_collections.vcsp.testbed.plugins.module_utils._host.pair import CLOCKS_S
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.gate import load
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.hosts import host_table
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.preflight import QEMU_OVERHEAD_MB, as_destination
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.schema import known_methods
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.trials import trials

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "real-hosts.md").read_text()
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
LAB = (ROOT / "inventory" / "lab" / "hosts.yml").read_text()
DEFAULTS = (ROOT / "playbooks" / "group_vars" / "all.yml").read_text()
SCENARIOS = ("quick", "nightly", "paper")


def tasks(path: str) -> dict[str, Any]:
    return {task["name"]: task for task in yaml.safe_load((ROOT / path).read_text())}


def room_mb(scenario: dict[str, Any]) -> list[int]:
    """What the doctor asks for on a bare host: for packages, for the image while it is built, for saved guests."""
    variables = tasks("playbooks/tasks/look_at_host.yml")["Look for room on its disks"]["vars"]
    environment = Environment(autoescape=False)
    environment.filters["vcsp.testbed.trials"] = trials
    known: dict[str, Any] = {
        "_testbed_scenario": scenario,
        "_testbed_windows": [workload["window_mb"] for workload in scenario["workloads"]],
        "__testbed_host_packages": ["qemu-system-x86"],
        "__testbed_image_missing": True,
    }
    known["_testbed_boots"] = environment.from_string(variables["_testbed_boots"]).render(known)
    return [int(environment.from_string(mb).render(known)) for mb, _folder in variables["_testbed_room"]]


@pytest.mark.parametrize("block", COMMANDS)
def test_a_shell_understands_the_commands(block: str) -> None:
    subprocess.run(["bash", "-n", "-c", block], check=True)


def test_the_names_are_those_of_the_example() -> None:
    names = set(re.findall(r"[\w-]+\.example\.org|192\.0\.2\.\d+", GUIDE))
    assert names and names <= set(re.findall(r"[\w-]+\.example\.org|192\.0\.2\.\d+", LAB))


def test_the_sizes_are_those_that_are_asked_for() -> None:
    memory, packages, saved, image = (
        next(line for line in GUIDE.splitlines() if line.startswith(f"| {what}"))
        for what in ("free memory", "disk on each", "disk on the source", "disk on the image builder")
    )
    assert f" {QEMU_OVERHEAD_MB} MB" in memory
    for name in SCENARIOS:
        scenario = load(yaml.safe_load((ROOT / "scenarios" / f"{name}.yml").read_text()))
        packages_mb, image_mb, saved_mb = room_mb(scenario)
        assert f" {packages_mb} MB" in packages and f" {image_mb} MB" in image
        assert f" {saved_mb} MB for `{name}`" in saved
        assert f"{scenario['guest']['memory_mb'] + QEMU_OVERHEAD_MB} MB" in memory


def test_the_limits_are_those_of_the_code() -> None:
    assert CLOCKS_S == 1 and "a second apart is too much" in GUIDE
    (ports,) = re.findall(r"testbed_migration_ports \| default\('([\d-]+)'\)", DEFAULTS)
    assert ports.replace("-", " to ") in GUIDE and f"dport {ports}" in GUIDE


def test_the_table_is_one_that_provisioning_shows() -> None:
    (shown,) = re.findall(r"^```text\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    able = {"usable": True, "reason": ""}
    host = {
        "distribution": "Debian GNU/Linux 12 (bookworm)",
        "kernel": "6.1.0-40-amd64",
        "cpu": {"model": "Xeon", "count": 8},
        "accelerator": {"name": "tcg", "reason": "KVM was not tried"},
        "qemu": {"version": "10.0.2", "major": 10, "postcopy_preempt": True},
        "libvirt": {"version": "11.3.0"},
        **dict.fromkeys(("userfaultfd", "ebpf"), able),
        "cgroup": {"cpu": True},
    }
    assert shown.splitlines() == host_table({"node1": host, "node2": host}).splitlines()


def test_every_gap_is_explained() -> None:
    methods = [{**settings, "name": name} for name, settings in known_methods().items()]
    gaps = [*as_destination({}, methods), *as_destination({"qemu": {"version": "6.2", "major": 6}}, methods)]
    told = re.findall(r"^\| `([^`]+)` \|", GUIDE.partition("| it says |")[2].partition("\n\n")[0], re.MULTILINE)
    assert [gap for gap in gaps if not any(words in gap for words in told)] == []
    assert [words for words in told if not any(words in gap for gap in gaps)] == []


def test_undoing_removes_all_that_the_preparation_makes() -> None:
    capabilities = tasks("roles/hypervisor/tasks/capabilities.yml")["Let QEMU use userfaultfd"]
    cache = yaml.safe_load((ROOT / "roles/guest_image/defaults/main.yml").read_text())["guest_image_cache_dir"]
    made = {
        *re.findall(r"(?:hypervisor_dir|testbed_image_path) \| default\('(/[^']+)'\)", DEFAULTS),
        str(Path(cache).parent),
        capabilities["ansible.posix.sysctl"]["sysctl_file"],
    }
    assert len(made) == 4
    assert made <= set(re.findall(r"[^\s']+", COMMANDS[-1]))
