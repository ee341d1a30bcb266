# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Instruments on the destination host: how the vCPU threads spent their time, and how long the quota stopped them."""

from __future__ import annotations

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
    """Cumulative times of the vCPU threads (proc_pid_schedstat: Documentation/scheduler/sched-stats.rst), in seconds.

    :ivar time_s: CLOCK_MONOTONIC.
    :ivar on_cpu_s: of each thread; so is ``run_queue_s``.
    """

    time_s: float
    on_cpu_s: tuple[float, ...]
    run_queue_s: tuple[float, ...]


class SchedStat:
    """Samples /proc/<pid>/task/<tid>/schedstat of vCPU threads until stopped; a context manager."""

    def __init__(self, threads: Iterable[int], proc: Path = PROC) -> None:
        self.threads = tuple(threads)
        self.samples: list[SchedSample] = []
        self._files = [proc / str(tid) / "task" / str(tid) / "schedstat" for tid in self.threads]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="schedstat", daemon=True)

    def __enter__(self) -> SchedStat:
        self.read()
        self._thread.start()
        return self

    def read(self) -> None:
        """Take a sample now; nothing is added once a thread is gone."""
        try:
            words = [file.read_text().split() for file in self._files]
        except OSError:
            return
        on_cpu, queued = (tuple(int(word[column]) / 1e9 for word in words) for column in (0, 1))
        self.samples.append(SchedSample(time.monotonic(), on_cpu, queued))

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


def process_of(tid: int, proc: Path = PROC) -> int:
    """Process that a thread belongs to.

    :raises OSError: there is no such thread.
    """
    match = re.search(r"^Tgid:\s+(\d+)", (proc / str(tid) / "status").read_text(), re.MULTILINE)
    if match is None:
        raise OSError(f"no Tgid in /proc/{tid}/status")
    return int(match[1])
