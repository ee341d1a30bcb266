# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A dead-man's switch: a process beside the module that undoes what must not stay in force if the module is killed.

The module tells it, a JSON line each time, what would have to be undone now. The kernel closes their pipe when the
module ends, however that comes about; what is still to be undone then is undone here, in seconds. Where libvirt does
not know of it (a quota written into the cgroup), the note in the guest's metadata stays for the next call.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .._host import beside
from . import deadman_process


class DeadMan:
    """The module's end of the pipe. Its process is started by the first thing to undo, or ahead of it by ``start``."""

    def __init__(self, systemd: Path = beside.SYSTEMD) -> None:
        self._systemd = systemd
        self._process: subprocess.Popen[bytes] | None = None
        self._state: dict[str, dict[str, Any]] = {}

    def start(self) -> None:
        """Start the process; returns once it is on guard.

        :raises OSError: there can be none.
        """
        if self._process is None:
            self._process = beside.start(deadman_process, systemd=self._systemd)

    def arm(self, what: str, write: Iterable[tuple[Path, str]] = (), run: Iterable[str] = ()) -> None:
        """Have something undone should the module be killed; call it before that is in force.

        :param what: names it, for ``disarm``.
        :param write: files, each with the text to write to it, in this order.
        :param run: a command's arguments.
        :raises OSError: there is nobody to do it.
        """
        self._state[what] = {"write": [[str(path), text] for path, text in write], "run": list(run)}
        self.start()
        self._tell()

    def disarm(self, what: str) -> None:
        """Forget what has been undone; nothing happens if there was no such thing."""
        if self._state.pop(what, None) is not None and self._process is not None:
            with suppress(OSError):  # it is gone, and undoes nothing
                self._tell()

    def close(self) -> None:
        """End the process. What could not be disarmed is undone by it now."""
        process, self._process = self._process, None
        if process is not None:
            beside.end(process, patient=not self._state)

    def _tell(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(json.dumps(self._state).encode() + b"\n")
            self._process.stdin.flush()
