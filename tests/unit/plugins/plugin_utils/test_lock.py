# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Locks that name their holder."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.lock import LockedError, acquire, check, release


@pytest.fixture
def other() -> Iterator[int]:
    """The id of another process that is alive."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


def test_held_by_another_process(tmp_path: Path, other: int) -> None:
    path = tmp_path / "lock"
    acquire(path, "experiment quick-1", "/home/somebody/testbed", other)
    for attempt in (lambda: acquire(path, "mine", "/here", os.getpid()), lambda: check(path, os.getpid())):
        with pytest.raises(LockedError) as caught:
            attempt()
        for part in (str(other), "experiment quick-1", "/home/somebody/testbed", str(path), f"kill -INT {other}"):
            assert part in str(caught.value)
    assert not release(path, os.getpid())
    assert path.exists()


def test_again_by_the_same_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    acquire(path, "lab", "/here", os.getpid())
    acquire(path, "experiment", "/here", os.getpid())
    check(path, os.getpid())
    assert json.loads(path.read_text())["purpose"] == "experiment"
    assert release(path, os.getpid())
    assert not path.exists()
    assert not release(path, os.getpid())


def test_taken_over_from_a_process_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(["sleep", "60"]) as process:
        acquire(path, "experiment", "/there", process.pid)
        process.kill()
    check(path, os.getpid())
    acquire(path, "mine", "/here", os.getpid())
    assert json.loads(path.read_text())["pid"] == os.getpid()


def test_taken_over_from_an_earlier_process_of_the_same_id(tmp_path: Path, other: int) -> None:
    path = tmp_path / "lock"
    acquire(path, "experiment", "/there", other)
    path.write_text(json.dumps({**json.loads(path.read_text()), "identity": "another boot/1"}))
    acquire(path, "mine", "/here", os.getpid())


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[1]",
        '{"pid": 1}',
        "null",
        '{"pid": "x", "identity": 1}',
        '{"pid": "../1", "identity": "x", "purpose": "x", "checkout": "x"}',
        '{"pid": true, "identity": "x", "purpose": "x", "checkout": "x"}',
        '{"pid": 1, "identity": null, "purpose": null, "checkout": null}',
        "[" * 100_000,
    ],
    ids=range(10),
)
def test_a_lock_file_that_says_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "lock"
    path.write_text(content)
    check(path, os.getpid())
    acquire(path, "mine", "/here", os.getpid())


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    for attempt in (lambda path: acquire(path, "mine", "/here", os.getpid()), lambda path: check(path, os.getpid())):
        with pytest.raises(OSError, match="symbolic links"):
            attempt(tmp_path / "lock")
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    check(tmp_path / "lock", os.getpid())
    with pytest.raises(OSError):
        acquire(tmp_path / "lock", "mine", "/here", os.getpid())


def test_a_holder_cannot_drive_the_terminal(tmp_path: Path, other: int) -> None:
    acquire(tmp_path / "lock", "\x1b[2Jexperiment", "/home/\x07", other)
    with pytest.raises(LockedError) as caught:
        check(tmp_path / "lock", os.getpid())
    assert str(caught.value).isprintable()
