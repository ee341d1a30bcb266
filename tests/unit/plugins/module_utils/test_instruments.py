# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Instruments that read a made-up /proc."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host.memory import huge_pages_mb, thp_mode
from ansible_collections.vcsp.testbed.plugins.module_utils._measure.instruments import (
    Processors,
    SchedStat,
    process_of,
    throttled_s,
)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def stat_line(kernel_ticks: int, name: str) -> str:
    return f"7 ({name}) S 1 7 7 0 -1 4194304 100 0 0 0 900 {kernel_ticks} 0 0 20 0 4 0 1000 1 1\n"


def test_schedstat_reads_each_thread(tmp_path: Path) -> None:
    write(tmp_path / "7/task/7/schedstat", "1500000000 250000000 9\n")
    write(tmp_path / "8/task/8/schedstat", "500000000 50000000 3\n")
    write(tmp_path / "7/task/7/stat", stat_line(50, "CPU 0/TCG"))
    write(tmp_path / "8/task/8/stat", stat_line(3, "a) b (c"))
    before = time.monotonic()
    with SchedStat([7, 8], tmp_path) as stat:
        first = stat.samples[0]
        assert (first.on_cpu_s, first.run_queue_s) == ((1.5, 0.5), (0.25, 0.05))
        tick_s = 1 / os.sysconf("SC_CLK_TCK")
        assert first.kernel_s == pytest.approx((50 * tick_s, 3 * tick_s))
        assert before <= first.time_s <= time.monotonic()
        deadline = before + 10
        while len(stat.samples) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(stat.samples) >= 3
    times = [sample.time_s for sample in stat.samples]
    assert times == sorted(times)


def test_schedstat_adds_nothing_once_a_thread_is_gone(tmp_path: Path) -> None:
    write(tmp_path / "7/task/7/schedstat", "1 1 1\n")
    write(tmp_path / "8/task/8/schedstat", "1 1 1\n")
    for tid in (7, 8):
        write(tmp_path / f"{tid}/task/{tid}/stat", stat_line(1, "x"))
    stat = SchedStat([7, 8], tmp_path)
    stat.read()
    shutil.rmtree(tmp_path / "8")
    stat.read()
    assert len(stat.samples) == 1


def test_throttled_time_with_cgroup_v1(tmp_path: Path) -> None:
    point = tmp_path / "cgroup/cpu"
    mounts = f"cgroup {point} cgroup rw,cpu,cpuacct 0 0\ncgroup {tmp_path}/cgroup/memory cgroup rw,memory 0 0\n"
    write(tmp_path / "self/mounts", mounts)
    for tid, throttled_ns in ((7, 1_500_000_000), (8, 500_000_000)):
        write(tmp_path / f"{tid}/cgroup", f"9:memory:/elsewhere\n4:cpu,cpuacct:/guest/vcpu{tid}\n0::/\n")
        write(point / f"guest/vcpu{tid}/cpu.stat", f"nr_periods 10\nnr_throttled 5\nthrottled_time {throttled_ns}\n")
    assert throttled_s([7, 8], tmp_path) == pytest.approx(2.0)


def test_throttled_time_with_cgroup_v2(tmp_path: Path) -> None:
    write(tmp_path / "self/mounts", f"cgroup2 {tmp_path}/cgroup cgroup2 rw 0 0\n")
    write(tmp_path / "7/cgroup", "0::/guest/vcpu0\n")
    write(tmp_path / "cgroup/guest/vcpu0/cpu.stat", "usage_usec 9\nnr_throttled 5\nthrottled_usec 250000\n")
    assert throttled_s([7], tmp_path) == pytest.approx(0.25)


@pytest.mark.parametrize("stat", ["usage_usec 9\n", "", None])
def test_throttled_time_is_none_if_the_controller_does_not_report_it(tmp_path: Path, stat: str | None) -> None:
    write(tmp_path / "self/mounts", f"cgroup2 {tmp_path}/cgroup cgroup2 rw 0 0\n")
    write(tmp_path / "7/cgroup", "0::/guest\n")
    if stat is not None:
        write(tmp_path / "cgroup/guest/cpu.stat", stat)
    assert throttled_s([7], tmp_path) is None
    assert throttled_s([99], tmp_path) is None


def test_huge_pages(tmp_path: Path) -> None:
    write(tmp_path / "7/smaps_rollup", "Rss:  9999 kB\nAnonHugePages:    131072 kB\nShmemPmdMapped: 0 kB\n")
    write(tmp_path / "8/smaps_rollup", "Rss:  9999 kB\n")
    assert huge_pages_mb(7, tmp_path) == 128.0
    assert huge_pages_mb(8, tmp_path) is None
    assert huge_pages_mb(9, tmp_path) is None


@pytest.mark.parametrize("mode", ["always", "madvise", "never"])
def test_mode_of_huge_pages(tmp_path: Path, mode: str) -> None:
    file = write(tmp_path / "enabled", "always madvise never\n".replace(mode, f"[{mode}]"))
    assert thp_mode(file) == mode
    assert thp_mode(tmp_path / "none") is None


def test_process_of_a_thread(tmp_path: Path) -> None:
    write(tmp_path / "7/status", "Name:\tCPU 0/KVM\nTgid:\t5\nPid:\t7\n")
    assert process_of(7, tmp_path) == 5
    write(tmp_path / "8/status", "Name:\tTgid: 9\n")
    with pytest.raises(OSError, match="no Tgid"):
        process_of(8, tmp_path)


def test_a_host_that_does_not_list_its_mounts_reports_no_throttling(tmp_path: Path) -> None:
    assert throttled_s([1], tmp_path) is None


def test_the_share_of_the_processors_that_others_took(tmp_path: Path) -> None:
    write(tmp_path / "stat", "cpu  100 0 50 800 10 5 5 30 40 0\ncpu0 9 9 9 9 9 9 9 9 9 9\n")
    before = Processors.read(tmp_path)
    assert before == Processors(stolen=30, all=1000), "the guests' 40 are in the first 100 already"
    assert before.stolen_percent_since(before) is None
    write(tmp_path / "stat", "cpu  150 0 60 810 10 5 5 60 70 0\n")
    after = Processors.read(tmp_path)
    assert after is not None and after.stolen_percent_since(before) == pytest.approx(30)


@pytest.mark.parametrize("text", [None, "", "cpu 1 2 3 4\n", "cpu a b c d e f g h\n"])
def test_processors_of_which_nothing_is_known(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        write(tmp_path / "stat", text)
    assert Processors.read(tmp_path) is None
