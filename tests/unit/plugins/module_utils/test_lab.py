# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the lab reads from the machine, and what it computes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._lab.cgroups import (
    cgroup_hierarchies,
    cpu_limit,
    read_cpu_limit,
    write_cpu_limit,
)
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.lab import tbf_burst_bytes
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.processes import start_time

HYBRID = """\
proc /proc proc rw,nosuid 0 0
tmpfs /sys/fs/cgroup tmpfs ro 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
cgroup /mnt/elsewhere cgroup rw,memory 0 0
"""


def test_only_hierarchies_under_sys_fs_cgroup_count() -> None:
    assert cgroup_hierarchies(HYBRID) == [
        (Path("/sys/fs/cgroup/unified"), True),
        (Path("/sys/fs/cgroup/cpu,cpuacct"), False),
    ]
    assert cgroup_hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n") == [(Path("/sys/fs/cgroup"), True)]
    assert cgroup_hierarchies("") == []


@pytest.mark.parametrize(("rate_mbit", "expected"), [(1, 16384), (100, 16384), (1000, 62500), (10_000, 625_000)])
def test_the_bucket_holds_half_a_millisecond_but_at_least_a_buffer(rate_mbit: int, expected: int) -> None:
    assert tbf_burst_bytes(rate_mbit) == expected


@pytest.mark.parametrize(
    ("percent", "processors", "expected"),
    [(100, 8, (None, 10_000)), (50, 2, (10_000, 10_000)), (99, 1, (9900, 10_000)), (1, 1, (1000, 100_000))],
)
def test_a_share_of_the_processors_is_a_quota_that_the_kernel_takes(
    percent: int, processors: int, expected: tuple[int | None, int]
) -> None:
    assert cpu_limit(percent, processors) == expected


@pytest.mark.parametrize(
    "unlimited",
    [{"cpu.max": "max 100000\n"}, {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}],
    ids=["cgroup v2", "cgroup v1"],
)
def test_a_cpu_limit_is_set_and_lifted(tmp_path: Path, unlimited: dict[str, str]) -> None:
    assert read_cpu_limit(tmp_path) is None, "there is no CPU controller"
    for name, text in unlimited.items():
        (tmp_path / name).write_text(text)
    assert read_cpu_limit(tmp_path) == (None, 100_000)
    write_cpu_limit(tmp_path, 5000, 10_000)
    assert read_cpu_limit(tmp_path) == (5000, 10_000)
    write_cpu_limit(tmp_path, None, 10_000)
    assert read_cpu_limit(tmp_path) == (None, 10_000)
    assert {path.name for path in tmp_path.iterdir()} == set(unlimited)


def test_start_time_of_a_process_whatever_its_name(tmp_path: Path) -> None:
    sleep = shutil.which("sleep")
    assert sleep is not None
    hostile = tmp_path / "a) S 1 (b"
    shutil.copy(os.path.realpath(sleep), hostile)
    process = subprocess.Popen(["sleep", "60"], executable=hostile)
    try:
        started = start_time(process.pid)
        assert started is not None
        own = start_time(os.getpid())
        assert own is not None
        assert int(own) <= int(started) <= float(Path("/proc/uptime").read_text().split()[0]) * 100 + 100
    finally:
        process.kill()
    # Dead but not reaped yet: a zombie does not count as a process.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert start_time(process.pid) is None
    process.wait()
    assert start_time(process.pid) is None
