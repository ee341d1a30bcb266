# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The playbooks' variables: one default each, which the user and the inventory override."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.vcsp.testbed.plugins.modules import postcopy_migration, testbed_info

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = ROOT / "playbooks"
DEFAULTS = PLAYBOOKS / "group_vars" / "all.yml"
OTHERS = [ROOT / "experiment.yml", *PLAYBOOKS.glob("*.yml"), *PLAYBOOKS.glob("tasks/*.yml")]
# A variable that users set, read with a default.
DEFAULTED = re.compile(r"(?<![\w.])(scenario|experiment_id|results_dir|testbed_\w+)\s*\|\s*default\(")
PRIVATE = re.compile(r"(?<!\w)_testbed_\w+")
SCENARIO = {"name": "mine", "workloads": [{"window_mb": 8}], "methods": ["post-copy"]}


def ansible(program: str, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    }
    command = [sys.executable, "-m", "ansible", program, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def settings(directory: Path, inventory: dict[str, Any], *arguments: str) -> dict[str, Any]:
    """Return what the playbooks read as their settings, given an inventory's variables."""
    hosts = {"localhost": {"ansible_connection": "local"}}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": inventory}}))
    names = ["scenario_name", "results_dir", "embedded_lab", "guest_name", "image_path", "host_dir", "prefetch_program"]
    names += ["tls_dir", "tls_made"]
    wanted = ", ".join(f"'{name}': _testbed_{name}" for name in names)
    adhoc: list[str | Path] = [
        "localhost",
        "-i",
        directory / "hosts.yml",
        "--playbook-dir",
        PLAYBOOKS,
        "-m",
        "ansible.builtin.debug",
    ]
    done = ansible("adhoc", *adhoc, "-a", f"msg={{{{ {{{wanted}}} }}}}", *arguments, cwd=directory)
    assert done.returncode == 0, done.stdout
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])["msg"]
    return found


def test_every_play_names_its_strategy() -> None:
    """Or else the user's own holds, which may not wait for all hosts, or not know any_errors_fatal or run_once."""
    plays = [play for path in OTHERS if path.parent != PLAYBOOKS / "tasks" for play in yaml.safe_load(path.read_text())]
    free = [play for play in plays if "hosts" in play and play.get("strategy") != "ansible.builtin.linear"]
    assert [play["name"] for play in free] == ["Run the trials"]
    assert "any_errors_fatal" not in free[0] and "run_once" not in str(free[0])


def pairs(directory: Path, number: int, **variables: Any) -> Path:
    """Return an inventory of pairs whose hosts are this machine."""
    names = [f"pair{index}" for index in range(1, number + 1)]
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}

    def hosts(part: str) -> dict[str, Any]:
        return {"hosts": {f"{name}_{part}": {} for name in names}}

    children = {
        "source_host": hosts("source"),
        "destination_host": hosts("destination"),
        "pairs": {
            "hosts": {
                name: {"testbed_source": f"{name}_source", "testbed_destination": f"{name}_destination"}
                for name in names
            }
        },
    }
    path = directory / "pairs.yml"
    path.write_text(yaml.safe_dump({"all": {"vars": {**here, **variables}, "children": children}}))
    return path


# What the role of trials does, with tasks that only write down when, and for which pair.
NOTED = {
    "calibrate.yml": """\
- name: Calibrate
  ansible.builtin.shell: >-
    echo begin calibration {{ inventory_hostname }} >>{{ log }}; sleep 0.4;
    echo end calibration {{ inventory_hostname }} >>{{ log }}
""",
    "main.yml": """\
- name: Begin
  ansible.builtin.shell: echo begin {{ trial_plan.id }} {{ inventory_hostname }} >>{{ log }}
- name: Migrate
  ansible.builtin.shell: sleep 0.4; test {{ inventory_hostname }} != {{ dead }}
- name: End
  ansible.builtin.shell: echo end {{ trial_plan.id }} {{ inventory_hostname }} >>{{ log }}
""",
}


def measured(directory: Path, number: int, dead: str = "none", **variables: Any) -> list[list[str]]:
    """Run the last play of trials.yml with a role that writes down what it does; return what it wrote."""
    tasks = directory / "roles" / "noted" / "tasks"
    tasks.mkdir(parents=True)
    for name, text in NOTED.items():
        (tasks / name).write_text(text)
    (directory / "tasks").mkdir()
    trial = (PLAYBOOKS / "tasks" / "trial.yml").read_text()
    (directory / "tasks" / "trial.yml").write_text(trial.replace("vcsp.testbed.trial", "noted"))
    (directory / "group_vars").symlink_to(PLAYBOOKS / "group_vars")
    play = yaml.safe_load((PLAYBOOKS / "trials.yml").read_text().replace("vcsp.testbed.trial", "noted"))[-1]
    names = [f"pair{index}" for index in range(1, number + 1)]
    pending = [{"id": f"t{index}", "pair": names[index // 2 % number], "workload": {}} for index in range(4 * number)]
    give = {"ansible.builtin.set_fact": {"testbed_experiment": {"pending": pending}}}
    # Ansible knows the hosts' variables from its first play on.
    first = {"name": "Begin", "hosts": play["hosts"], "tasks": [give]}
    last = {
        **play,
        "vars": {"_testbed_share": play["vars"]["_testbed_share"]},
        "tasks": play["tasks"][-1]["block"][-2:],
    }
    (directory / "playbook.yml").write_text(yaml.safe_dump([first, last]))
    log = directory / "log"
    inventory = pairs(directory, number, log=str(log), dead=dead, **variables)
    done = ansible("playbook", directory / "playbook.yml", "-i", inventory, cwd=directory)
    assert (done.returncode == 0) == (dead == "none"), done.stdout + done.stderr
    return [line.split() for line in log.read_text().splitlines()]


def at_once(found: list[list[str]]) -> int:
    """Return how many of the things that were noted were going on at once."""
    running, most = 0, 0
    for what, _thing, _pair in found:
        running += 1 if what == "begin" else -1
        most = max(most, running)
    return most


def test_pairs_of_one_machine_take_turns_in_the_order_of_the_trials(tmp_path: Path) -> None:
    found = measured(tmp_path, 2, testbed_embedded_lab=True)
    assert at_once(found) == 1
    begun = [(thing, pair) for what, thing, pair in found if what == "begin"]
    assert [pair for thing, pair in begun if thing == "calibration"] == ["pair1", "pair2"]
    pair_of = ["pair1", "pair1", "pair2", "pair2"] * 2
    assert begun[2:] == [(f"t{index}", pair) for index, pair in enumerate(pair_of)]


def test_other_pairs_measure_side_by_side(tmp_path: Path) -> None:
    found = measured(tmp_path, 2)
    assert at_once(found) == 2
    for name, own in (("pair1", ["t0", "t1", "t4", "t5"]), ("pair2", ["t2", "t3", "t6", "t7"])):
        assert [thing for what, thing, pair in found if (what, pair) == ("begin", name)] == ["calibration", *own]


@pytest.mark.parametrize("embedded", [True, False], ids=["in turns", "side by side"])
def test_a_dead_pair_does_not_stop_the_others(tmp_path: Path, embedded: bool) -> None:
    found = measured(tmp_path, 2, dead="pair1", testbed_embedded_lab=embedded)
    assert [thing for what, thing, pair in found if (what, pair) == ("begin", "pair1")] == ["calibration", "t0"]
    assert [thing for what, thing, _pair in found if what == "end"][2:] == ["t2", "t3", "t6", "t7"]


def test_a_default_stands_in_one_place() -> None:
    assert {str(path): found for path in OTHERS if (found := DEFAULTED.findall(path.read_text()))} == {}
    assert set(Counter(DEFAULTED.findall(DEFAULTS.read_text())).values()) == {1}


def test_every_private_variable_that_is_read_is_set() -> None:
    texts = [path.read_text() for path in (DEFAULTS, *OTHERS)]
    read = {name for text in texts for name in PRIVATE.findall(text)}
    assert read == {name for text in texts for name in re.findall(r"^ *(_testbed_\w+):", text, re.MULTILINE)}


def test_the_roles_and_modules_have_the_same_defaults(tmp_path: Path) -> None:
    def default(role: str, name: str) -> Any:
        return yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text())[name]

    found = settings(tmp_path, {})
    assert found["guest_name"] == default("guest", "guest_name")
    assert found["image_path"] == default("guest", "guest_image_path")
    assert found["host_dir"] == default("hypervisor", "hypervisor_dir")
    ports = default("trial", "trial_migration_ports")
    assert f"testbed_migration_ports | default('{ports}')" in DEFAULTS.read_text()
    assert yaml.safe_load(postcopy_migration.DOCUMENTATION)["options"]["migration_ports"]["default"] == ports
    tls_dir = default("hypervisor", "hypervisor_tls_dir")
    assert found["tls_dir"] == default("trial", "trial_tls_dir") == tls_dir
    for module in (postcopy_migration, testbed_info):
        options = yaml.safe_load(module.DOCUMENTATION)["options"]
        assert found["prefetch_program"] == options["prefetch_program"]["default"]
        assert options["tls_dir"]["default"] == tls_dir


def test_the_inventory_and_the_command_line_win(tmp_path: Path) -> None:
    defaults = settings(tmp_path, {})
    assert (defaults["scenario_name"], defaults["results_dir"], defaults["embedded_lab"]) == ("quick", "results", False)
    inventory = {
        "scenario": "paper",
        "results_dir": "/elsewhere",
        "testbed_embedded_lab": True,
        "hypervisor_dir": "/srv",
    }
    found = settings(tmp_path, inventory)
    assert (found["scenario_name"], found["results_dir"], found["embedded_lab"]) == ("paper", "/elsewhere", True)
    assert found["prefetch_program"] == "/srv/prefetch.bpf.o"
    found = settings(tmp_path, inventory, "-e", "scenario=smoke", "-e", "testbed_embedded_lab=false")
    assert (found["scenario_name"], found["results_dir"], found["embedded_lab"]) == ("smoke", "/elsewhere", False)


@pytest.mark.parametrize(
    ("methods", "managed", "made"),
    [([{"tls": False}, {"tls": True}], True, True), ([{"tls": False}], True, False), ([{"tls": True}], "no", False)],
)
def test_certificates_are_made_where_the_scenario_needs_them_and_the_site_has_none(
    tmp_path: Path, methods: list[dict[str, bool]], managed: Any, made: bool
) -> None:
    assert settings(tmp_path, {})["tls_made"] is False
    inventory = {"testbed_scenario": {"methods": methods}, "testbed_tls_managed": managed}
    assert settings(tmp_path, inventory)["tls_made"] is made


@pytest.mark.parametrize("playbook", [PLAYBOOKS / "report.yml", "vcsp.testbed.report"], ids=["path", "collection"])
def test_a_playbook_finds_its_defaults_from_any_directory(tmp_path: Path, playbook: Path | str) -> None:
    done = ansible("playbook", playbook, "-i", "localhost,", "-e", "experiment_id=no/name", cwd=tmp_path)
    assert done.returncode == 2
    assert "no/name" in done.stdout, done.stdout + done.stderr


def test_the_scenario_is_read_once_per_run(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.yml"
    scenario.write_text(yaml.safe_dump(SCENARIO))
    read = {"name": "Read", "ansible.builtin.import_tasks": str(PLAYBOOKS / "tasks" / "scenario.yml")}
    change = {"name": "Break the file", "ansible.builtin.copy": {"content": "broken", "dest": str(scenario)}}
    use = {"name": "Use", "ansible.builtin.assert": {"that": f"_testbed_scenario.name == '{SCENARIO['name']}'"}}
    plays = [
        {"name": "Begin", "hosts": "localhost", "vars_files": [str(DEFAULTS)], "tasks": [read, change]},
        {"name": "Go on", "hosts": "another", "vars_files": [str(DEFAULTS)], "tasks": [read, use]},
    ]
    (tmp_path / "playbook.yml").write_text(yaml.safe_dump(plays))
    arguments = ["-i", "another,", "-c", "local", "-e", f"scenario={scenario}"]
    done = ansible("playbook", tmp_path / "playbook.yml", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert scenario.read_text() == "broken"
