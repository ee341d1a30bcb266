# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Processes of the machine, named so that a later one with the same id is not mistaken for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def start_time(pid: int) -> str | None:
    """Start time of a process in ticks since boot (proc_pid_stat(5)); with the pid it names a process for good."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def child_of(pid: int) -> int | None:
    """The first grandchild-free child: ``nsenter`` and ``unshare`` exec in place, so PID 1 is their only child."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(children[0]) if children else None


def wait_for(ready: Callable[[], Any], timeout_s: float) -> Any:
    """Poll until ``ready`` returns something true, or the last value at the deadline."""
    deadline = time.monotonic() + timeout_s
    while not (value := ready()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return value
