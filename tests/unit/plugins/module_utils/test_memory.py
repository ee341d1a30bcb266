# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What each limit of a host leaves for a guest, on made-up hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host.memory import rooms

PLAIN = "<domain/>"
MIB = 1 << 20


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """8000 MB available; both versions of cgroups mounted."""
    write(tmp_path / "proc/meminfo", "MemAvailable: 8192000 kB\nCommitLimit: 3072 kB\nCommitted_AS: 1024 kB\n")
    write(tmp_path / "proc/sys/vm/overcommit_memory", "0\n")
    mounts = [f"cgroup {tmp_path}/v1 cgroup rw,memory 0 0", f"cgroup2 {tmp_path}/v2 cgroup2 rw 0 0"]
    write(tmp_path / "proc/self/mounts", "\n".join(mounts))
    return tmp_path / "proc"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def left(xml: str, proc: Path) -> dict[str, int]:
    return {room.limit: room.left_mb for room in rooms(xml, proc, proc.parent / "pools")}


def test_without_limits_the_available_memory_counts(proc: Path) -> None:
    assert left(PLAIN, proc) == {"the available memory": 8000}


def test_strict_overcommit_counts_what_was_promised(proc: Path) -> None:
    write(proc / "sys/vm/overcommit_memory", "2\n")
    assert left(PLAIN, proc)["the commit limit (vm.overcommit_memory is 2)"] == 2


def test_the_domains_own_limit_counts(proc: Path) -> None:
    xml = "<domain><memtune><hard_limit unit='KiB'>524288</hard_limit></memtune></domain>"
    assert left(xml, proc)["the hard_limit of the domain"] == 512


@pytest.mark.parametrize("partition", ["machine.slice", "machine", "."])
def test_a_cgroup_of_version_2_leaves_its_limit_but_for_what_is_used_and_no_page_cache(
    proc: Path, partition: str
) -> None:
    group = proc.parent / "v2" / partition
    write(group / "memory.max", f"{1000 * MIB}\n")
    write(group / "memory.current", f"{700 * MIB}\n")
    write(group / "memory.stat", f"anon 1\nactive_file {50 * MIB}\ninactive_file {100 * MIB}\n")
    assert left(PLAIN, proc)[f"memory.max of the cgroup {group}"] == 450


def test_a_cgroup_of_version_2_without_a_limit_does_not_count(proc: Path) -> None:
    write(proc.parent / "v2/machine.slice/memory.max", "max\n")
    write(proc.parent / "v2/machine.slice/memory.current", "1\n")
    assert len(left(PLAIN, proc)) == 1


def test_a_cgroup_of_version_1_counts(proc: Path) -> None:
    group = proc.parent / "v1/machine"
    write(group / "memory.limit_in_bytes", f"{1000 * MIB}\n")
    write(group / "memory.usage_in_bytes", f"{700 * MIB}\n")
    write(group / "memory.stat", f"active_file 1\ntotal_active_file {MIB}\ntotal_inactive_file {MIB}\n")
    assert left(PLAIN, proc)[f"memory.limit_in_bytes of the cgroup {group}"] == 302


@pytest.mark.parametrize(("page", "mb"), [("", 20), ("<page size='1048576' unit='KiB'/>", 0)])
def test_a_guest_on_huge_pages_has_what_their_pool_has(proc: Path, page: str, mb: int) -> None:
    write(proc / "meminfo", "MemAvailable: 1 kB\nHugepagesize: 2048 kB\n")
    pool = proc.parent / "pools/hugepages-2048kB"
    for name, pages in {"free": 12, "resv": 4, "nr_overcommit": 3, "surplus": 1}.items():
        write(pool / f"{name}_hugepages", f"{pages}\n")
    xml = f"<domain><memoryBacking><hugepages>{page}</hugepages></memoryBacking></domain>"
    assert left(xml, proc) == {"the pool of huge pages": mb}
