# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The dead-man's process undoes what its module left in force, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._destination import deadman
from ansible_collections.vcsp.testbed.plugins.module_utils._host import beside

MODULE_UTILS = Path(deadman.__file__).parents[1]
# A module that arms a dead-man, says so, and is killed.
KILLED = """
import os, signal, sys
from pathlib import Path
from vcsp._destination import deadman
guard = deadman.DeadMan(Path("/nowhere"))
guard.arm("quota", write=[(Path(sys.argv[1]), "max 100000")], run=["touch", sys.argv[1] + ".ran"])
print(guard._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def guard() -> Iterator[deadman.DeadMan]:
    made = deadman.DeadMan(Path("/nowhere"))
    yield made
    made.close()


@pytest.fixture
def limit(tmp_path: Path) -> Path:
    path = tmp_path / "cpu.max"
    path.write_text("5000 10000")
    return path


def process(guard: deadman.DeadMan) -> subprocess.Popen[bytes]:
    assert guard._process is not None
    return guard._process


def test_what_a_killed_module_left_in_force_is_undone(tmp_path: Path, limit: Path) -> None:
    archive = tmp_path / "payload.zip"  # as Ansible brings modules to a host
    with zipfile.ZipFile(archive, "w") as payload:
        for name in ("_destination/deadman.py", "_destination/deadman_process.py", "_host/beside.py"):
            payload.write(MODULE_UTILS / name, f"vcsp/{name}")
        for package in ("vcsp", "vcsp/_destination", "vcsp/_host"):
            payload.writestr(f"{package}/__init__.py", "")
    command = [sys.executable, "-c", KILLED, str(limit)]
    done = subprocess.run(command, env={"PYTHONPATH": str(archive)}, stdout=subprocess.PIPE, timeout=60)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    while Path(f"/proc/{pid}/comm").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        os.sched_yield()
    assert limit.read_text() == "max 100000"
    assert Path(f"{limit}.ran").exists()


def test_what_was_disarmed_is_left_alone(guard: deadman.DeadMan, limit: Path) -> None:
    guard.arm("quota", write=[(limit, "max 100000")])
    guard.arm("hold", run=["touch", f"{limit}.ran"])
    guard.disarm("quota")
    guard.disarm("hold")
    guard.disarm("what was never armed")
    ended = process(guard)
    guard.close()
    assert ended.returncode == 0
    assert limit.read_text() == "5000 10000"
    assert not Path(f"{limit}.ran").exists()


def test_what_the_module_could_not_lift_is_undone_when_it_ends(guard: deadman.DeadMan, limit: Path) -> None:
    guard.arm("quota", write=[(limit.with_name("gone"), "1"), (limit, "max 100000")])
    ended = process(guard)
    guard.close()
    assert ended.wait(60) == 0
    assert limit.read_text() == "max 100000"
    assert not limit.with_name("gone").exists(), "a cgroup's files are never created"


def test_it_has_its_own_name_and_session_and_is_deaf_to_what_ends_the_module(guard: deadman.DeadMan) -> None:
    guard.start()
    pid = process(guard).pid
    assert Path(f"/proc/{pid}/comm").read_text() == "vcsp-deadman\n"
    assert os.getsid(pid) == pid
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(pid, number)
    guard.arm("quota")
    assert process(guard).poll() is None
    own = {os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)}
    theirs = {os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)}
    assert not (own & theirs) - {"/dev/null"}


def test_nothing_runs_until_something_is_in_force(guard: deadman.DeadMan) -> None:
    guard.disarm("quota")
    assert guard._process is None


def test_without_systemds_command_it_is_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    guard = deadman.DeadMan(tmp_path)
    guard.start()
    assert process(guard).args[0] == sys.executable  # type: ignore[index]
    guard.close()


def test_a_guard_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "commands", lambda *_program, systemd: [["false"]])
    with pytest.raises(OSError, match="did not start"):
        deadman.DeadMan().arm("quota")
