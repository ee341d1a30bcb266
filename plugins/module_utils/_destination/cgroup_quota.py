# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The vCPU quota in the cgroups themselves, for when libvirt cannot lift it because it or QEMU hangs.

libvirt knows nothing of this, and its note on the quota (quota.py) stays until a later call clears it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .cgroups import PROC, cpu_hierarchies, path_in

# Version of the hierarchy -> what holds the limit. Of two values, the kernel may refuse one while the other is still
# in force: quota, period and quota again restore both.
FILES = {1: ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_quota_us"), 2: ("cpu.max",)}

Limits = tuple[tuple[Path, str], ...]


def limits(threads: Iterable[int], proc: Path = PROC) -> Limits:
    """The limits in force on these threads' cgroups: files and what they hold; none where they cannot be read."""
    found = []
    for tid in threads:
        for version, point in cpu_hierarchies(proc):
            for name in FILES[version]:
                try:
                    file = point / (path_in(version, tid, proc) or "") / name
                    found.append((file, file.read_text().strip()))
                except OSError:
                    continue  # this hierarchy does not have the controller
    return tuple(found)


def restore(before: Limits) -> bool:
    """Write limits back; whether there were any, and all are in force again."""
    try:
        for file, text in before:
            with suppress(OSError):
                file.write_text(text)
        return bool(before) and all(file.read_text().strip() == text for file, text in before)
    except OSError:
        return False
