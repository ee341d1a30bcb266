# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One call per guest: the second is refused by name, and a killed one is in nobody's way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._migration import owner
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.errors import MigrationError
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.owner import (
    Owner,
    await_end,
    only_call,
    other_call,
)
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.phases import Phase

LOCK_FOREVER = (
    "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2); print(flush=True); time.sleep(600)"
)


@pytest.fixture(autouse=True)
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "run" / "lock"
    monkeypatch.setattr(owner, "lock_file", lambda _guest: path)
    monkeypatch.setattr(owner, "NAME_S", 0.2)
    return path


def test_a_second_call_is_refused_and_told_by_whom() -> None:
    first = Owner("1", "node2", os.getpid(), "2026-11-25T16:50:03Z")
    assert other_call("web1") is None
    with only_call("web1", first):
        refused = other_call("web1")
        with pytest.raises(MigrationError) as caught, only_call("web1", Owner.this_call()):
            raise AssertionError
        known = f"(process {os.getpid()} on node2, since 16:50:03 UTC)"
        assert str(caught.value) == f"the guest web1 is being migrated by another call {known}: wait until it ends"
        assert str(caught.value) == str(refused)
        assert caught.value.phase is Phase.PREPARING
    assert other_call("web1") is None
    with only_call("web1", Owner.this_call()):
        pass


def test_a_killed_call_holds_nothing(lock: Path) -> None:
    lock.parent.mkdir()
    lock.write_text('{"id": "1", "host": "node2", "pid": 1, "since": "2026-11-25T16:50:03Z"}')
    with subprocess.Popen([sys.executable, "-c", LOCK_FOREVER, lock], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        first.stdout.readline()
        assert other_call("web1") is not None
        first.send_signal(signal.SIGKILL)
    assert other_call("web1") is None
    with only_call("web1", Owner.this_call()):
        pass


def test_the_end_of_a_call_can_be_waited_for(lock: Path) -> None:
    lock.parent.mkdir()
    ends = LOCK_FOREVER.replace("time.sleep(600)", "time.sleep(0.3)")
    assert ends != LOCK_FOREVER
    with subprocess.Popen([sys.executable, "-c", ends, lock], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        first.stdout.readline()
        await_end("web1", 0.01)
        assert other_call("web1") is not None, "it is waited for no longer than that"
        await_end("web1", 60)
        assert other_call("web1") is None


def test_an_owner_that_has_not_said_its_name_is_not_mistaken_for_the_one_before(lock: Path) -> None:
    lock.parent.mkdir()
    with subprocess.Popen(["true"]) as dead:
        pass
    lock.write_text(f'{{"id": "1", "host": "node2", "pid": {dead.pid}, "since": "2026-11-25T16:50:03Z"}}')
    with subprocess.Popen([sys.executable, "-c", LOCK_FOREVER, lock], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        first.stdout.readline()
        with (
            pytest.raises(MigrationError, match="by another call: wait") as caught,
            only_call("web1", Owner.this_call()),
        ):
            raise AssertionError
        first.kill()
    assert "node2" not in str(caught.value)


def test_only_the_caller_may_enter_the_directory_of_the_locks(lock: Path) -> None:
    with only_call("web1", Owner.this_call()):
        assert lock.parent.stat().st_mode & 0o077 == 0


def test_without_a_place_for_the_lock_the_guest_stays_where_it_is(lock: Path) -> None:
    lock.parent.write_text("a file")
    with pytest.raises(MigrationError, match="the guest web1 cannot be locked"), only_call("web1", Owner.this_call()):
        raise AssertionError


def test_locks_of_different_guests_have_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    paths = {owner.lock_file(name) for name in ("web1", "web2", "../../etc/passwd", "x" * 5000)}
    assert len(paths) == 4
    assert len({path.parent for path in paths}) == 1
