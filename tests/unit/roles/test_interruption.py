# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What failed or was interrupted in one run is made up for in the next."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
CLANG = """#!/bin/sh
[ ! -e broken ] || { echo 'out of memory' >&2; exit 1; }
for output; do :; done
echo compiled > "$output"
"""


def include(role: str, tasks: str) -> list[dict[str, Any]]:
    return [{"name": "Run", "ansible.builtin.include_role": {"name": f"vcsp.testbed.{role}", "tasks_from": tasks}}]


def changes(output: str) -> int:
    return int(re.findall(r"changed=(\d+)", output)[0])


def test_a_change_of_the_same_run_decides_nothing() -> None:
    files = [path for folder in ("roles", "playbooks") for path in (ROOT / folder).rglob("*.yml")]
    assert [path for path in files if re.search(r"__\w+ is (not )?changed|\.changed\b", path.read_text())] == []
    assert not list((ROOT / "roles").glob("*/handlers"))


def test_a_failed_compilation_is_tried_again(playbooks: Any, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "clang").write_text(CLANG.replace("broken", str(tmp_path / "broken")))
    (programs / "clang").chmod(0o755)
    playbooks.environment["PATH"] = f"{programs}:{playbooks.environment['PATH']}"
    made = tmp_path / "made"
    made.mkdir()
    (made / "prefetch.bpf.c").write_text("an earlier version")
    (made / "prefetch.bpf.o").write_text("an earlier version, compiled")

    def provision() -> Any:
        return playbooks.run(include("hypervisor", "prefetch.yml"), "-e", f"hypervisor_dir={made}")

    (tmp_path / "broken").touch()
    failed = provision()
    assert failed.returncode == 2
    assert "out of memory" in failed.stdout
    (tmp_path / "broken").unlink()
    mended = provision()
    assert mended.returncode == 0, mended.stdout
    assert (made / "prefetch.bpf.o").read_text() == "compiled\n"
    # Made from something else, or removed by hand.
    (made / "prefetch.bpf.o").resolve().rename(made / "prefetch-000000000000.bpf.o")
    assert provision().returncode == 0
    assert (made / "prefetch.bpf.o").read_text() == "compiled\n"
    assert len([*made.glob("prefetch-*.bpf.o")]) == 1


@pytest.fixture
def install(playbooks: Any, tmp_path: Path) -> Callable[[dict[str, str]], Any]:
    """The lab's packages tasks up to the installation, as if interrupted before it."""

    def run(installed: dict[str, str]) -> Any:
        facts = {"packages_installed": installed, "packages_names": [], "_local_lab_units_dir": str(tmp_path / "units")}
        return playbooks.run(include("local_lab", "packages.yml"), "-v", "-e", json.dumps(facts))

    return run


def test_sshd_is_masked_before_it_is_installed(install: Callable[[dict[str, str]], Any], tmp_path: Path) -> None:
    done = install({})
    assert done.returncode == 0, done.stdout
    units = {path.name: path.readlink() for path in (tmp_path / "units").iterdir()}
    assert {"ssh.service", "ssh.socket", "sshd-vsock.socket"} <= units.keys()
    assert {*units.values()} == {Path("/dev/null")}
    # Installed by the lab, as far as a second run can see, or by the owner: either way nothing changes.
    assert changes(install({"openssh-server": "1:9.2p1-2"}).stdout) == 0


def test_an_sshd_that_was_there_is_left_alone(install: Callable[[dict[str, str]], Any], tmp_path: Path) -> None:
    assert changes(install({"openssh-server": "1:9.2p1-2"}).stdout) == 0
    assert not (tmp_path / "units").exists()
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "ssh.service").write_text("[Service]\nExecStart=/opt/sshd -D\n")
    done = install({})
    assert done.returncode == 0, done.stdout
    assert "/opt/sshd" in (tmp_path / "units" / "ssh.service").read_text()


def test_a_second_calibration_asks_for_the_rate_of_the_first_and_keeps_its_work_if_it_fails(playbooks: Any) -> None:
    # There is no such guest, so it fails.
    workload = {"window_mb": 8, "pattern": "sequential", "work_per_page": None, "rate_mb_per_s": None}
    calibration = {"target_mb_per_s": 61.5, "work_words": 9}
    tasks = [
        *include("trial", "calibrate.yml"),
        {
            "name": "Check",
            "ansible.builtin.assert": {"that": "trial_calibrations | map(attribute='calibration') == kept"},
        },
    ]
    wanted = {
        "trial_workloads": [workload],
        "trial_source": "localhost",
        "trial_guest_name": "vcsp-never",
        "trial_guest_xml": "<domain/>",
        "trial_state_dir": "",
        "kept": [calibration],
    }
    first = playbooks.run(tasks, **wanted)
    assert first.returncode == 2, first.stdout
    assert "Check" not in first.stdout
    second = playbooks.run(tasks, "-vvv", **wanted, trial_calibrations=[{"item": workload, "calibration": calibration}])
    assert second.returncode == 0, second.stdout
    assert "rate_mb_per_s: 61.5" in second.stdout
