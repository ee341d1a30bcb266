# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Locks that name their holder, and that nobody has to remove after a crash."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from .._records.printable import printable

# Everybody can write to the directory of the machine's lock: follow no link, and wait for no pipe.
_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SIZE_MAX = 65536


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    :ivar pid: its process id
    :ivar identity: distinguishes it from a later process with the same id: the machine's boot and its start (ticks)
    :ivar purpose: what it does, for messages
    :ivar checkout: where it was started from
    """

    pid: int
    identity: str
    purpose: str
    checkout: str

    @property
    def alive(self) -> bool:
        return _identity(self.pid) == self.identity


class LockedError(Exception):
    """Somebody else holds the lock; the message names them and says what to do."""


def default_path() -> Path:
    """Return the path of the lock of this machine."""
    run = Path("/run/lock")
    return (run if os.access(run, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())) / "vcsp-testbed.lock"


def acquire(path: Path, purpose: str, checkout: str, pid: int) -> None:
    """Take the lock for a living process, from nobody, from itself, or from a process that is gone.

    :raises LockedError: another process holds it
    :raises OSError: the lock file cannot be written
    """
    check(path, pid)  # names the holder also to those who may read the file but not write it
    holder = Holder(pid, _identity(pid) or "", purpose, checkout)
    with _opened(path) as descriptor:
        _refuse_other(path, _read(descriptor), pid)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(holder)).encode(), 0)


def check(path: Path, pid: int) -> None:
    """Raise what :func:`acquire` would raise, without taking the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _SAFELY)
    except FileNotFoundError:
        return
    try:
        _refuse_other(path, _read(descriptor), pid)
    finally:
        os.close(descriptor)


def release(path: Path, pid: int) -> bool:
    """Release the lock; return False if the process did not hold it."""
    if not path.exists():
        return False
    with _opened(path) as descriptor:
        if not _is_of(pid, _read(descriptor)):
            return False
        path.unlink()
        return True


def held(path: Path, pid: int) -> bool:
    """Return whether the process holds the lock, which is what :func:`release` would return."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _SAFELY)
    except FileNotFoundError:
        return False
    try:
        return _is_of(pid, _read(descriptor))
    finally:
        os.close(descriptor)


def _is_of(pid: int, holder: Holder | None) -> bool:
    return holder is not None and holder.pid == pid and holder.alive


def _identity(pid: int) -> str | None:
    try:
        # After the name in parentheses, which may hold anything, the start is the 20th field.
        start = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() + "/" + start
    except (OSError, IndexError):
        return None


def _refuse_other(path: Path, holder: Holder | None, pid: int) -> None:
    if holder is not None and holder.pid != pid and holder.alive:
        raise LockedError(
            f"process {holder.pid} is at work here: {printable(holder.purpose)}, started from "
            f"{printable(holder.checkout)} (lock {path}); "
            f"wait until it has ended, or end it with 'kill -INT {holder.pid}', and try again"
        )


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Yield a descriptor of the lock file, which nobody else reads or writes meanwhile."""
    flags = os.O_RDWR | _SAFELY
    while True:
        try:
            # Without O_CREAT, with which Linux does not even let root open another user's file in such a directory.
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.close(os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644))
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
                yield descriptor
                return
            # Released between open and flock: what is open here is no longer the lock.
        finally:
            os.close(descriptor)


def _read(descriptor: int) -> Holder | None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return None
    return _parse(os.pread(descriptor, _SIZE_MAX, 0))


def _parse(content: bytes) -> Holder | None:
    """Return the holder; None for an empty file, or one that a crash truncated."""
    try:
        holder = Holder(**json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (holder.identity, holder.purpose, holder.checkout)
    return holder if type(holder.pid) is int and all(isinstance(text, str) for text in texts) else None
