# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How the progress of an experiment is shown, and how long the rest will take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .status_line import duration

BAR_WIDTH = 14


class Course:
    """The course of an experiment: trials done, trials to do, and how long they take.

    A trial has a part whose length is known from its settings (baseline and observation) and the rest (restore,
    migration, collection), which is estimated from the trials that ended in this run.

    :ivar side_by_side: whether pairs of hosts run their trials at the same time
    """

    def __init__(self, pending: Sequence[Mapping[str, Any]], done: int, began_s: float) -> None:
        """Begin with the trials to run, the number of those that an earlier run has done, and the time."""
        self.total = len(pending) + done
        self.finished = done
        self.side_by_side = False
        self._waiting = {trial["id"]: trial for trial in pending}
        self._rest_s: list[float] = []
        self._began_s = began_s
        self._ended_s: dict[str | None, float] = {}
        self._method_width = max((len(trial["method"]["name"]) for trial in pending), default=0)
        self._widths = {
            key: max((len(trial.get(key, "")) for trial in pending), default=0) for key in ("pair", "stack")
        }

    def began_s(self, trial: Mapping[str, Any]) -> float:
        """Return when a trial that runs began, which is when the one before it ended."""
        return self._ended_s.get(self._lane(trial), self._began_s)

    def end(self, trial: Mapping[str, Any], now_s: float) -> None:
        """Note that a trial ended."""
        took_s = now_s - self.began_s(trial)
        self._ended_s[self._lane(trial)] = now_s
        if self._waiting.pop(trial["id"], None) is not None:
            self.finished += 1
            self._rest_s.append(took_s - _known_s(trial))

    def subject(self, trial: Mapping[str, Any]) -> str:
        """Return what a trial is in columns: pair and stack, where it has them, method and workload."""
        workload, method = trial["workload"], f"{trial['method']['name']:<{self._method_width}}"
        on = "".join(f"{trial.get(key, ''):<{width}}  " for key, width in self._widths.items() if width)
        return f"{on}{method}  {workload['window_mb']:>4} MB {workload['pattern']:<10}"

    def _lane(self, trial: Mapping[str, Any]) -> str | None:
        return trial.get("pair") if self.side_by_side else None

    @property
    def left_s(self) -> float | None:
        """Seconds until the last trial ends; None before the first one has."""
        if not self._rest_s:
            return None
        mean_rest_s = sum(self._rest_s) / len(self._rest_s)
        left_s: dict[str | None, float] = {}
        for trial in self._waiting.values():
            lane = self._lane(trial)
            left_s[lane] = left_s.get(lane, 0.0) + max(_known_s(trial) + mean_rest_s, 0.0)
        return max(left_s.values(), default=0.0)


def _known_s(trial: Mapping[str, Any]) -> float:
    return float(trial["baseline_s"]) + float(trial["observation_s"])


def counter(number: int, total: int) -> str:
    """Return ``[ 7/48]``."""
    width = len(str(total))
    return f"[{number:{width}d}/{total}]"


def bar(fraction: float, blocks: bool) -> str:
    """Return a bar and the percentage; ``blocks`` says whether the terminal has block characters."""
    full = int(fraction * BAR_WIDTH)
    on, off = ("█", "░") if blocks else ("#", ".")
    return f"{on * full}{off * (BAR_WIDTH - full)} {fraction:4.0%}"


def trial_line(course: Course, result: Mapping[str, Any], blocks: bool) -> str:
    """Return the line for a trial that has ended, from the return value of vcsp.testbed.record.

    The seconds are the total migration time; ``-`` means that it was not measured.
    """
    taken_s = (result.get("measurements") or {}).get("total_migration_time_s")
    taken = "-" if taken_s is None else f"{taken_s:.1f} s"
    status = "ok" if result["valid"] else str(result["status"]).upper()
    left_s = course.left_s
    parts = [
        f"{counter(course.finished, course.total)} {course.subject(result['trial'])}",
        f"{status:<7}",
        f"{taken:>7}",
        bar(course.finished / course.total, blocks),
    ]
    if left_s is not None and course.finished < course.total:
        parts.append(f"{duration(left_s)} left")
    return "  ".join(parts)
