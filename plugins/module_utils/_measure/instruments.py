# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Instruments on the destination host: how the vCPU threads spent their time, how long the quota stopped them, and how
much of the host's processors other virtual machines took.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .._destination.cgroups import PROC, cpu_hierarchies, path_in

SAMPLE_S = 0.05


@dataclass(frozen=True)
class SchedSample:
    """Cumulative times of the vCPU threads, in seconds.

    :ivar time_s: CLOCK_MONOTONIC.
    :ivar on_cpu_s: of each thread; so are the others. From schedstat (Documentation/scheduler/sched-stats.rst).
    :ivar run_queue_s: from there, too.
    :ivar kernel_s: the part of ``on_cpu_s`` that was spent in the kernel, in whole ticks (proc_pid_stat(5), ``stime``).
    """

    time_s: float
    on_cpu_s: tuple[float, ...]
    run_queue_s: tuple[float, ...]
    kernel_s: tuple[float, ...]


class SchedStat:
    """Samples schedstat and stat in /proc/<pid>/task/<tid> of vCPU threads until stopped; a context manager."""

    def __init__(self, threads: Iterable[int], proc: Path = PROC) -> None:
        self.threads = tuple(threads)
        self.samples: list[SchedSample] = []
        self._folders = [proc / str(tid) / "task" / str(tid) for tid in self.threads]
        self._tick_s = 1 / os.sysconf("SC_CLK_TCK")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="schedstat", daemon=True)

    def __enter__(self) -> SchedStat:
        self.read()
        self._thread.start()
        return self

    def read(self) -> None:
        """Take a sample now; nothing is added once a thread is gone."""
        try:
            words = [(folder / "schedstat").read_text().split() for folder in self._folders]
            # The thread's name comes first, in brackets, and may hold anything.
            stats = [(folder / "stat").read_text().rpartition(")")[2].split() for folder in self._folders]
        except OSError:
            return
        on_cpu, queued = (tuple(int(word[column]) / 1e9 for word in words) for column in (0, 1))
        kernel = tuple(int(stat[12]) * self._tick_s for stat in stats)
        self.samples.append(SchedSample(time.monotonic(), on_cpu, queued, kernel))

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self.read()

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join()


def throttled_s(threads: Iterable[int], proc: Path = PROC) -> float | None:
    """Time in seconds that the CPU controller throttled these threads' cgroups; None if it does not report it.

    cgroup v1: cpu.stat throttled_time (ns); v2: throttled_usec.
    """
    total = None
    try:
        hierarchies = cpu_hierarchies(proc)
    except OSError:
        return None
    for tid in threads:
        found = None
        for version, point in hierarchies:
            try:
                path = path_in(version, tid, proc)
                if path is None:
                    continue
                stat = dict(line.split() for line in (point / path / "cpu.stat").read_text().splitlines())
            except (OSError, ValueError):
                continue
            if "throttled_time" in stat:
                found = int(stat["throttled_time"]) / 1e9
            elif "throttled_usec" in stat:
                found = int(stat["throttled_usec"]) / 1e6
        if found is None:
            return None
        total = (total or 0.0) + found
    return total


@dataclass(frozen=True)
class Processors:
    """What all processors of this host did since it booted, in ticks (proc_stat(5)).

    :ivar stolen: while they were taken away by the hypervisor that runs this host (``steal``).
    :ivar all: altogether.
    """

    stolen: int
    all: int

    @classmethod
    def read(cls, proc: Path = PROC) -> Processors | None:
        """What they did until now; None if the kernel does not report it."""
        try:
            # The guests' time, which comes after steal, is in user's already.
            ticks = [int(word) for word in (proc / "stat").read_text().partition("\n")[0].split()[1:9]]
        except (OSError, ValueError):
            return None
        return cls(ticks[7], sum(ticks)) if len(ticks) == 8 else None

    def stolen_percent_since(self, before: Processors) -> float | None:
        """The share that was taken away since ``before``; None if no time has passed."""
        passed = self.all - before.all
        return 100 * (self.stolen - before.stolen) / passed if passed > 0 else None


def process_of(tid: int, proc: Path = PROC) -> int:
    """Process that a thread belongs to.

    :raises OSError: there is no such thread.
    """
    match = re.search(r"^Tgid:\s+(\d+)", (proc / str(tid) / "status").read_text(), re.MULTILINE)
    if match is None:
        raise OSError(f"no Tgid in /proc/{tid}/status")
    return int(match[1])
