# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host's memory: how much is available, and its transparent huge pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from .._destination.cgroups import PROC, hierarchies

HUGE_PAGES = Path("/sys/kernel/mm/hugepages")
# Where libvirt puts QEMU: with systemd, and without; the root has the limits of a container.
PARTITIONS = ("machine.slice", "machine", "machine.partition", "")
MIB = 1 << 20
# Files of the memory controller: limit, use, and of that the page cache, which gives way.
_CONTROLLER = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", r"^total_(?:in)?active_file (\d+)$"),
    2: ("memory.max", "memory.current", r"^(?:in)?active_file (\d+)$"),
}


class Room(NamedTuple):
    """What a limit leaves for a guest."""

    limit: str
    left_mb: int


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


def rooms(xml: str, proc: Path = PROC, pools: Path = HUGE_PAGES) -> Iterator[Room]:
    """What each limit on this host leaves for a guest, which can have the least of them.

    :param xml: the guest's domain XML.
    """
    domain = ElementTree.fromstring(xml)
    if domain.find("./memoryBacking/hugepages") is not None:
        yield from _pools(domain, proc, pools)
        return
    kb = {name: int(text) for name, text in re.findall(r"^(\w+):\s+(\d+) kB", (proc / "meminfo").read_text(), re.M)}
    yield Room("the available memory", kb["MemAvailable"] // 1024)
    if first_match(r"^(\d+)$", proc / "sys/vm/overcommit_memory") == "2":
        yield Room("the commit limit (vm.overcommit_memory is 2)", (kb["CommitLimit"] - kb["Committed_AS"]) // 1024)
    hard_kb = domain.findtext("./memtune/hard_limit")
    if hard_kb is not None:
        yield Room("the hard_limit of the domain", int(hard_kb) // 1024)
    yield from _cgroups(proc)


def _cgroups(proc: Path) -> Iterator[Room]:
    for version, point in hierarchies("memory", proc):
        limit, use, cache = _CONTROLLER[version]
        for partition in PARTITIONS:
            group = point / partition
            most, used = (first_match(r"^(\d+)$", group / name) for name in (limit, use))
            if most is not None and used is not None:  # "max" is no limit
                yields = sum(map(int, re.findall(cache, (group / "memory.stat").read_text(), re.MULTILINE)))
                yield Room(f"{limit} of the cgroup {group}", (int(most) - int(used) + yields) // MIB)


def _pools(domain: ElementTree.Element, proc: Path, pools: Path) -> Iterator[Room]:
    """The pools of huge pages that the guest takes its memory from, together."""
    sizes = {int(page.get("size", 0)) for page in domain.iterfind("./memoryBacking/hugepages/page")}
    if not sizes:
        sizes = {int(first_match(r"^Hugepagesize:\s+(\d+) kB", proc / "meminfo") or 0)}
    left_kb = 0
    for size_kb in sizes:
        pool = pools / f"hugepages-{size_kb}kB"
        free, reserved, more, surplus = (
            int(first_match(r"^(\d+)$", pool / name) or 0)
            for name in ("free_hugepages", "resv_hugepages", "nr_overcommit_hugepages", "surplus_hugepages")
        )
        left_kb += (free - reserved + max(0, more - surplus)) * size_kb
    yield Room("the pool of huge pages", left_kb // 1024)


def thp_mode(path: Path = Path("/sys/kernel/mm/transparent_hugepage/enabled")) -> str | None:
    """The host's setting for transparent huge pages: always, madvise or never; None if unknown."""
    return first_match(r"\[(\w+)\]", path)


def huge_pages_mb(pid: int, proc: Path = PROC) -> float | None:
    """Anonymous memory of a process that is backed by transparent huge pages, in MB; None if unknown."""
    kb = first_match(r"^AnonHugePages:\s+(\d+) kB", proc / str(pid) / "smaps_rollup")
    return None if kb is None else int(kb) / 1024
