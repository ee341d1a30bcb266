# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host's memory: how much is available, and its transparent huge pages."""

from __future__ import annotations

import re
from pathlib import Path

PROC = Path("/proc")


def first_match(pattern: str, path: Path) -> str | None:
    """The group of a pattern's first match in a file, by line; None without a match, or if the file is not readable."""
    try:
        match = re.search(pattern, path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return match[1] if match else None


def memory() -> dict[str, int]:
    """Total and available memory, in MB (proc_meminfo(5))."""
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE))
    return {"total_mb": int(found["MemTotal"]) // 1024, "available_mb": int(found["MemAvailable"]) // 1024}


def thp_mode(path: Path = Path("/sys/kernel/mm/transparent_hugepage/enabled")) -> str | None:
    """The host's setting for transparent huge pages: always, madvise or never; None if unknown."""
    return first_match(r"\[(\w+)\]", path)


def huge_pages_mb(pid: int, proc: Path = PROC) -> float | None:
    """Anonymous memory of a process that is backed by transparent huge pages, in MB; None if unknown."""
    kb = first_match(r"^AnonHugePages:\s+(\d+) kB", proc / str(pid) / "smaps_rollup")
    return None if kb is None else int(kb) / 1024
