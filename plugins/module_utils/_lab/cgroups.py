# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The cgroups of the lab's hosts, version 1 and 2 (cgroups(7)): made, held to a share of the processors, removed."""

from __future__ import annotations

import os
import time
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
# A host held to a share of the processors is slowed evenly by a short period, and stands still by turns in a long one.
# The kernel grants at least a millisecond per period.
CPU_PERIOD_MIN_US, CPU_QUOTA_MIN_US = 10_000, 1000


def cgroup_hierarchies(mounts: str) -> list[tuple[Path, bool]]:
    """Mounted cgroup hierarchies in the text of /proc/self/mounts, as (mount point, is v2)."""
    found = []
    for line in mounts.splitlines():
        _device, point, kind, *_rest = line.split()
        if kind in ("cgroup", "cgroup2") and Path(point).is_relative_to(CGROUP_ROOT):
            found.append((Path(point), kind == "cgroup2"))
    return found


def make_cgroups(hierarchies: list[tuple[Path, bool]], lab: str, host: str) -> list[Path]:
    """Make ``/<lab>/<host>`` in every hierarchy and hand down all controllers (cgroups(7))."""
    made = []
    for point, is_v2 in hierarchies:
        group = point
        for part in (lab, host):
            if is_v2:
                _delegate(group)
            group = group / part
            group.mkdir(exist_ok=True)
            if not is_v2 and (group / "cpuset.cpus").exists():
                for name in ("cpuset.cpus", "cpuset.mems"):  # empty in a new group, and then it takes no process
                    (group / name).write_text((group.parent / name).read_text())
        made.append(group)
    return made


def _delegate(group: Path) -> None:
    for controller in (group / "cgroup.controllers").read_text().split():
        try:
            (group / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError:  # e.g. cpu while real-time tasks run outside the root group; testbed_info says what is missing
            continue


def remove_cgroups(groups: list[Path], timeout_s: float = 10) -> None:
    """Remove cgroup trees, deepest first. The kernel empties groups of ended processes with a delay.

    :raises TimeoutError: a group still has processes after the timeout.
    """
    deadline = time.monotonic() + timeout_s
    for top in groups:
        for path, _names, _files in os.walk(top, topdown=False):
            while True:
                try:
                    os.rmdir(path)
                    break
                except FileNotFoundError:
                    break
                except OSError as error:
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"cgroup {path} is still in use: {error}") from error
                    time.sleep(0.05)


def cpu_limit(percent: int, processors: int) -> tuple[int | None, int]:
    """Quota and period in microseconds for a share of the processors; no quota for all of them.

    >>> cpu_limit(50, 4)
    (20000, 10000)
    >>> cpu_limit(1, 2)
    (1000, 50000)
    """
    period_us = max(CPU_PERIOD_MIN_US, -(-CPU_QUOTA_MIN_US * 100 // (percent * processors)))
    return (None if percent == 100 else period_us * percent * processors // 100), period_us


def read_cpu_limit(group: Path) -> tuple[int | None, int] | None:
    """Quota and period of a cgroup; None when it has no CPU controller."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((group / name).read_text() for name in names).split()
        except FileNotFoundError:
            continue
        return (None if quota in ("max", "-1") else int(quota)), int(period)
    return None


def write_cpu_limit(group: Path, quota_us: int | None, period_us: int) -> None:
    """Hold a cgroup to a quota in each period, or let go of it."""
    if (group / "cpu.max").exists():
        (group / "cpu.max").write_text(f"{'max' if quota_us is None else quota_us} {period_us}")
        return
    # Period and quota are written one by one, and each pair must be one that the kernel takes.
    for name, value in (("quota", -1), ("period", period_us), ("quota", -1 if quota_us is None else quota_us)):
        (group / f"cpu.cfs_{name}_us").write_text(str(value))
