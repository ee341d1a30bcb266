# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bad input ends with a clear error before anything is touched."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import BIN, ROOT, environment, guests, on, playbook, run_module, write_scenario


@pytest.mark.parametrize(
    ("settings", "says"),
    # One of each kind; the unit tests of the scenario have the others.
    [
        ({"repeets": 2}, "repeets"),
        ({"methods": [{"name": "x", "vcpu_quota_percent": "half"}]}, "vcpu_quota_percent"),
        ({"methods": [{"name": "x", "prefetch_pages": 512 * 256 + 1}]}, "prefetch_pages"),
        ({"workloads": [{"window_mb": 600}]}, "window_mb"),
    ],
)
def test_a_bad_scenario_is_refused_first(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    scenario = write_scenario(tmp_path, **settings)
    # Only the first playbook of experiment.yml: it is what stands before all that touches anything.
    done = playbook("playbooks/check.yml", "-e", f"scenario={scenario}", "-e", f"results_dir={tmp_path / 'results'}")
    assert done.returncode == 2
    assert says in done.stdout, done.stdout
    assert not (tmp_path / "results").exists()


def test_the_check_is_the_first_thing_an_experiment_does() -> None:
    text = (ROOT / "playbooks" / "experiment.yml").read_text()
    assert text.index("check.yml") == min(
        text.index(f"{name}.yml") for name in ("check", "lab", "provision", "guest", "run")
    )


def test_an_unknown_scenario_names_those_that_exist(tmp_path: Path) -> None:
    done = playbook("experiment.yml", "-e", "scenario=quikc", "-e", f"results_dir={tmp_path / 'results'}")
    assert done.returncode == 2
    assert "quick" in done.stdout and "paper" in done.stdout, done.stdout
    assert not (tmp_path / "results").exists()


def test_a_results_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    done = playbook("playbooks/check.yml", "-e", "scenario=smoke", "-e", f"results_dir={tmp_path / 'results'}")
    assert done.returncode == 2
    assert "results" in done.stdout


def test_another_experiment_is_not_overwritten(lab: Path, tmp_path: Path) -> None:
    shutil.copytree(lab, tmp_path / "results", symlinks=True)
    mine = (tmp_path / "results" / "latest").resolve().name
    before = (tmp_path / "results" / mine / "experiment.json").read_bytes()
    variables = {"scenario": "smoke", "results_dir": tmp_path / "results", "experiment_id": mine}
    done = playbook("playbooks/check.yml", *(word for key in variables for word in ("-e", f"{key}={variables[key]}")))
    assert done.returncode == 2
    assert mine in done.stdout
    assert (tmp_path / "results" / mine / "experiment.json").read_bytes() == before


def test_the_lab_refuses_to_be_made_by_a_user() -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv(1)")
    command = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        BIN / "ansible-playbook",
        "playbooks/lab.yml",
    ]
    readable = subprocess.run([*command[:4], "test", "-r", ROOT / "ansible.cfg"]).returncode == 0
    if not readable:
        pytest.skip("another user cannot read this checkout")
    done = subprocess.run(
        command, cwd=ROOT, env={**environment(), "HOME": "/tmp"}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode != 0
    assert "root" in done.stdout + done.stderr


def test_the_module_refuses_and_the_guest_stays(guest: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    settings: dict[str, Any]
    for settings, says in (
        ({"vcpu_quota_percent": 0}, "vcpu_quota_percent"),
        ({"vcpu_quota_percent": "half"}, "vcpu_quota_percent"),
        ({"prefetch_pages": 1.5}, "prefetch_pages"),
        ({"prefetch_pages": 2, "prefetch_program": "/nowhere/prefetch.bpf.o"}, "provision.yml"),
        ({"source_uri": "qemu+ssh://root@nowhere/system"}, "nowhere"),
        ({"name": "no-such-guest"}, "no-such-guest"),
    ):
        done = guest(**settings)
        assert done.returncode != 0, settings
        assert says in done.stdout, done.stdout
        assert guests("source") == ["vcsp-guest"], settings
        assert guests("destination") == [], settings
    assert "running" in on("source", "virsh", "domstate", "vcsp-guest")


def test_check_mode_checks_and_migrates_nothing(guest: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    assert guest(check=True).returncode == 0
    assert guest(check=True, prefetch_pages=0).returncode != 0
    assert guests("source") == ["vcsp-guest"]
    assert guests("destination") == []


def test_guests_of_others_are_left_alone(guest: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    machine = "<memory unit='MiB'>64</memory><os><type arch='x86_64'>hvm</type></os>"
    theirs = f"<domain type='qemu'><name>theirs</name>{machine}</domain>"
    on("source", f"echo {json.dumps(theirs)} > /tmp/theirs.xml && virsh create /tmp/theirs.xml")
    try:
        done = run_module("source", "saved_guest", name="theirs", state="absent")
        assert done.returncode != 0
        assert "left alone" in done.stdout
        assert "theirs" in guests("source")
    finally:
        on("source", "virsh", "destroy", "theirs")
