# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The program of the dead-man's process (deadman.py)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

NAME = "vcsp-deadman"  # as ps shows it; the kernel allows 15 characters
# How long a command may take to run.
COMMAND_S = 8.0


def main() -> None:
    """The process: remember the last line, and undo what it says once there will be no other."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):  # only the name that ps shows
        Path("/proc/self/comm").write_text(NAME)
    os.write(1, b"ready\n")
    last = "{}"
    for line in sys.stdin:
        if line.endswith("\n"):  # whole
            last = line
    undo(json.loads(last))


def undo(state: dict[str, dict[str, Any]]) -> None:
    """Write the files first: that takes no time."""
    for thing in state.values():
        for path, text in thing["write"]:
            with suppress(OSError):  # the guest has ended
                # In place: these are files of the kernel.
                descriptor = os.open(path, os.O_WRONLY)
                try:
                    os.write(descriptor, text.encode())
                finally:
                    os.close(descriptor)
    for thing in state.values():
        if thing["run"]:
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(
                    thing["run"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=COMMAND_S,
                )


if __name__ == "__main__":
    main()
