# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""make doctor: everything that would stop an experiment, in one list, and nothing is changed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from .test_gate import PLAYBOOKS, ROOT, two_hosts, without_our_settings

DOCTOR = PLAYBOOKS / "doctor.yml"


def findings(*arguments: str | Path, cwd: Path) -> list[str]:
    """What would stop the experiment, of which there is something."""
    done = without_our_settings(DOCTOR, "-e", f"results_dir={cwd}/results", *arguments, cwd=cwd)
    assert done.returncode == 2, done.stdout + done.stderr
    _before, _heading, rest = done.stdout.partition("These would stop the experiment:\n")
    return re.findall(r"^- (.*)", rest, re.MULTILINE)


def test_all_that_would_stop_an_experiment_is_in_one_list(tmp_path: Path) -> None:
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    inventory = two_hosts(tmp_path, **away)
    (tmp_path / "results").write_text("a file, not a folder")
    found = findings("-i", inventory, "-e", "scenario=nonsense", cwd=tmp_path)
    assert [line for line in found if line.startswith("nonsense: no such scenario; known:")]
    assert [line for line in found if f"{tmp_path}/results is not a directory" in line]
    assert [line for line in found if line.startswith("node1 does not answer")]
    assert not [line for line in found if line.startswith("node2 does not answer")]
    assert not (tmp_path / "made").exists()


def test_a_foreign_inventory_is_not_looked_at_further(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("[hypervisors]\nnode1 ansible_host=127.0.0.1 ansible_port=1\n")
    found = findings("-i", tmp_path / "hosts", cwd=tmp_path)
    assert [line for line in found if line.startswith("This inventory is no testbed: group source_host has no host")]
    assert not [line for line in found if "node1" in line]


def test_a_user_learns_at_once_what_root_would(tmp_path: Path) -> None:
    """The machine is looked at even without root."""
    found = findings(
        "-i", ROOT / "inventory/local", "-e", "scenario=nonsense", "-e", "local_lab_rate_mbit=0", cwd=tmp_path
    )
    assert [line for line in found if line.startswith("nonsense: no such scenario")]
    assert [line for line in found if "rate_mbit: 0 must be at least 1" in line]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have a disk of a known size")
def test_there_must_be_room_for_every_boot_that_is_saved(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1000m", "tmpfs", disk], check=True)
    try:
        found = findings("-i", two_hosts(tmp_path), "-e", f"hypervisor_dir={disk}", cwd=tmp_path)
    finally:
        subprocess.run(["umount", disk], check=True)
    # Of "quick": three boots, each with its system four times (once to begin with) and with windows of 8, 16 and 32 MB.
    assert [line for line in found if f"{disk} has 1000 MB free, and up to 2088 MB will be needed" in line]
