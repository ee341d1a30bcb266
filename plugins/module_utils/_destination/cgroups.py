# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The cgroup hierarchies that may have the CPU controller, and where a process is in them (cgroups(7))."""

from __future__ import annotations

from pathlib import Path

PROC = Path("/proc")
NO_CGROUP_V2 = "no cgroup v2 hierarchy is mounted, which sockops programs need"
# What /proc/PID/cgroup calls the hierarchy of each version.
_CONTROLLER = {1: "cpu", 2: ""}


def cpu_hierarchies(proc: Path = PROC) -> list[tuple[int, Path]]:
    """Version and mount point of each: v1 with the CPU controller, and v2, whether or not it has it."""
    return hierarchies("cpu", proc)


def hierarchies(controller: str, proc: Path = PROC) -> list[tuple[int, Path]]:
    """The same for any controller."""
    mounts = (line.split() for line in (proc / "self" / "mounts").read_text().splitlines())
    return [
        (2 if kind == "cgroup2" else 1, Path(point))
        for _device, point, kind, options, *_rest in mounts
        if kind == "cgroup2" or (kind == "cgroup" and controller in options.split(","))
    ]


def path_in(version: int, pid: int, proc: Path = PROC) -> str | None:
    """Path of a process or thread in the hierarchy of that version, from its root; None if it is in none.

    :raises OSError: there is no such process.
    """
    for line in (proc / str(pid) / "cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        if _CONTROLLER[version] in controllers.split(","):
            return path.lstrip("/")
    return None
