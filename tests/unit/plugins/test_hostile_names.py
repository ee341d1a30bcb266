# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hostile names from an inventory or a command line: refused before anything is touched, and never executed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
# A shell would create "pwned".
HOSTILE = "x'; touch pwned; '"


def role(name: str, **variables: Any) -> dict[str, Any]:
    return {"name": name, "ansible.builtin.include_role": {"name": f"vcsp.testbed.{name}"}, "vars": variables}


def lab(**arguments: Any) -> dict[str, Any]:
    hosts = [
        {"name": "source", "management_address": "198.18.0.11", "migration_address": "198.18.1.11"},
        {"name": "destination", "management_address": "198.18.0.12", "migration_address": "198.18.1.12"},
    ]
    wanted = {"owner": "/nowhere", "controller_address": "198.18.0.1", "hosts": hosts, **arguments}
    return {"name": "Lab", "vcsp.testbed.lab_info": wanted}


REFUSED = [
    (role("guest", guest_name=HOSTILE), "guest_name"),
    (role("guest", guest_name="../../etc/x"), "guest_name"),
    (role("guest", guest_name="a\nb"), "guest_name"),
    (role("guest", guest_name=".."), "guest_name"),
    (role("guest", guest_image_key=".."), "guest_image_key"),
    (role("guest_image", guest_image_cache_dir=f"/nowhere/{HOSTILE}"), "guest_image_cache_dir"),
    (lab(name=HOSTILE), "name: "),
    (lab(state_dir="/nowhere/../etc"), "state_dir: "),
    (lab(state_dir="/etc"), "state_dir: "),
]


def test_a_name_that_is_no_plain_file_name_is_refused(playbooks: Any, tmp_path: Path) -> None:
    def save_message(number: int) -> dict[str, Any]:
        results = "(ansible_failed_result.results | default([ansible_failed_result]))"
        copy = {
            "content": f"{{{{ ({results} | selectattr('failed', 'defined') | selectattr('failed') | first).msg }}}}",
            "dest": f"{tmp_path}/{number}",
            "mode": "0644",
        }
        return {"name": "Save the message", "ansible.builtin.copy": copy}

    run = playbooks.run(
        [
            {
                "name": "Try",
                "block": [task, {"name": "Refused", "ansible.builtin.meta": "end_play"}],
                "rescue": [save_message(n)],
            }
            for n, (task, _says) in enumerate(REFUSED)
        ]
    )
    assert run.returncode == 0, run.stdout
    for number, (_task, says) in enumerate(REFUSED):
        assert (tmp_path / str(number)).read_text().startswith(says)
    assert not list(tmp_path.rglob("pwned*"))


def test_a_report_refuses_an_experiment_outside_the_results(tmp_path: Path) -> None:
    report = str(ROOT / "playbooks" / "report.yml")
    command = [sys.executable, "-m", "ansible", "playbook", report, "-i", "localhost,", "-c", "local"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    variables = f'{{"results_dir": "{tmp_path}/results", "experiment_id": "../x"}}'
    run = subprocess.run([*command, "-e", variables], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 2, run.stdout
    assert 'experiment_id: is "../x"' in run.stdout


def test_only_saved_states_of_other_images_are_removed(playbooks: Any, tmp_path: Path) -> None:
    states = tmp_path / "states"
    for name in ("aaaaaaaaaaaa", "0123456789ab", "precious", "0123456789abc", "0123456789ab.d"):
        (states / name).mkdir(parents=True)
    run = playbooks.run([role("guest", guest_states_dir=str(states), guest_image_key="0123456789ab")])
    assert run.returncode == 0, run.stdout
    assert {path.name for path in states.iterdir()} == {"0123456789ab", "precious", "0123456789abc", "0123456789ab.d"}


def test_a_host_may_have_any_name(playbooks: Any, tmp_path: Path) -> None:
    host = f'{HOSTILE} $(touch pwned) "'
    (tmp_path / "inventory").write_text(
        yaml.safe_dump(
            {
                "source_host": {"hosts": {host: {"ansible_connection": "local"}}},
                "all": {"hosts": {"localhost": {"ansible_connection": "local"}}},
            }
        )
    )
    delegate = {
        "name": "Examine it",
        "vcsp.testbed.testbed_info": {"cache": str(tmp_path / "cache")},
        "delegate_to": "{{ groups['source_host'][0] }}",
        "check_mode": True,
    }
    run = playbooks.run([delegate])
    assert run.returncode == 0, run.stdout
    assert not list(tmp_path.rglob("pwned*"))


def test_others_cannot_write_to_the_results_even_without_a_umask(
    playbooks: Any, tmp_path: Path, scenario: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    begin = {
        "results_dir": f"{tmp_path}/results",
        "experiment_id": "mine",
        "scenario": scenario,
        "lock_path": f"{tmp_path}/lock",
    }
    where = {"experiment_dir": "{{ experiment.experiment_dir }}", "experiment_id": "mine"}
    tasks = [
        {"name": "Begin", "vcsp.testbed.experiment": begin, "register": "experiment"},
        {
            "name": "Record",
            "vcsp.testbed.record": {**where, "trial": "{{ experiment.pending[0] }}", "result": trial_result()},
        },
        {"name": "Report", "vcsp.testbed.report": {"experiment_dir": "{{ experiment.experiment_dir }}"}},
    ]
    before = os.umask(0)
    try:
        playbooks.run(tasks)
    finally:
        os.umask(before)
    made = [path for path in (tmp_path / "results").rglob("*") if not path.is_symlink()]
    assert {"experiment.json", "record.json", "report.html"} <= {path.name for path in made}
    assert [path for path in made if path.stat().st_mode & stat.S_IWOTH] == []
    assert not (tmp_path / "results").stat().st_mode & stat.S_IWOTH
