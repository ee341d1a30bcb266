# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One call per guest at a time: a lock on the destination host, and a token that calls on other hosts can read.

The lock is the kernel's, on an open file, and so ends with its process, however that dies. Its file is in a directory
that only the caller may enter: an abstract socket would need no file, but any user could take its name first and keep
the guest where it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from .errors import MigrationError
from .phases import Phase

# How long a lock may be held by one without a name: an owner that has only just taken it, or a check.
NAME_S = 1.0


@dataclass(frozen=True)
class Owner:
    """A call that migrates a guest.

    :ivar id: random, no other call has it.
    :ivar host: the host that it runs on, the destination.
    :ivar pid: its process there.
    :ivar since: when it began, ISO 8601 in UTC.
    """

    id: str
    host: str
    pid: int
    since: str

    @classmethod
    def this_call(cls) -> Owner:
        """A token for this process."""
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return cls(uuid.uuid4().hex, os.uname().nodename, os.getpid(), since)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since[11:19]} UTC"


def busy(guest: str, owner: Owner | None, advice: str = "wait until it ends") -> MigrationError:
    """The refusal of a guest that another call has; an owner of None is not known by name."""
    known = "" if owner is None else f" ({owner})"
    return MigrationError(f"the guest {guest} is being migrated by another call{known}: {advice}", Phase.PREPARING)


@contextmanager
def only_call(guest: str, owner: Owner) -> Iterator[None]:
    """Hold the guest's lock on this host.

    :raises MigrationError: another call has it, or there is no place for a lock.
    """
    path = lock_file(guest)
    give_up_s = time.monotonic() + NAME_S
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = path.open("a")  # not emptied: it names the owner if there is one
    except OSError as error:
        raise MigrationError(f"the guest {guest} cannot be locked: {error}", Phase.PREPARING) from error
    with file:
        while not _locked(file):
            other = _named(path)
            if other is not None or time.monotonic() > give_up_s:
                raise busy(guest, other)
            time.sleep(0.05)
        file.truncate(0)
        file.write(json.dumps(asdict(owner)))
        file.flush()
        yield
        file.truncate(0)


def other_call(guest: str) -> MigrationError | None:
    """What ``only_call`` would raise now because of another call; None if there is none. Changes nothing."""
    path = lock_file(guest)
    try:
        with path.open() as file:
            return None if _locked(file) else busy(guest, _named(path))
    except OSError:  # no call has ever locked it
        return None


def await_end(guest: str, timeout_s: float) -> None:
    """Wait until no call has the guest any more, but no longer than this; a call ends soon when its guest is gone."""
    give_up_s = time.monotonic() + timeout_s
    while other_call(guest) is not None and time.monotonic() < give_up_s:
        time.sleep(0.1)


def lock_file(guest: str) -> Path:
    """The guest's lock on this host; its name may be longer than a file's."""
    user = os.geteuid()
    run = Path("/run") if user == 0 else Path("/run/user", str(user))
    return run / "vcsp-testbed" / f"{hashlib.sha256(guest.encode()).hexdigest()[:32]}.lock"


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _named(path: Path) -> Owner | None:
    try:
        owner = Owner(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):  # not written yet
        return None
    return owner if Path("/proc", str(owner.pid)).exists() else None  # else it names one that was killed
