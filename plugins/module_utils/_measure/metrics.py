# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From raw readings to the measurements of one migration, by pure functions.

Times are the destination's CLOCK_MONOTONIC in seconds. A measurement that cannot be made is None, never 0.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from .._guest.telemetry import MB, PAGE_BYTES, Sample
from .instruments import SchedSample

STEADY_MAX_S = 2.0
STEADY_MIN_S = 0.5
# Time after the last page from which the guest's rate counts as steady.
STEADY_SETTLE_S = 0.3

Curve = Sequence[tuple[float, float]]


def value_at(curve: Curve, time_s: float) -> float | None:
    """Value of a piecewise linear curve at a time; None outside of its range."""
    index = bisect_left(curve, (time_s, float("-inf")))
    if index < len(curve) and curve[index][0] == time_s:
        return curve[index][1]
    if index == 0 or index == len(curve):
        return None
    (t0, v0), (t1, v1) = curve[index - 1], curve[index]
    return v0 + (v1 - v0) * (time_s - t0) / (t1 - t0)


def rate_mb_per_s(pages: Curve, start_s: float, end_s: float) -> float | None:
    """Guest memory processed per second between two times, in MB/s; None if the curve does not span them."""
    first, last = value_at(pages, start_s), value_at(pages, end_s)
    if first is None or last is None or end_s <= start_s:
        return None
    return (last - first) * PAGE_BYTES / MB / (end_s - start_s)


def pages_curve(
    samples: Sequence[Sample], stop_s: float | None, resume_s: float | None, walker: int | None = None
) -> list[tuple[float, float]]:
    """Pages walked over time, by all walkers or by one of them.

    Between the last sample before the stop and the first one after the resume, the guest ran, was stopped, and ran
    again: the curve continues at the source's rate until the stop, and is flat until the resume.
    """
    curve = [(sample.time_s, float(sample.pages if walker is None else sample.visits[walker])) for sample in samples]
    if stop_s is None or resume_s is None:
        return curve
    before = [point for point in curve if point[0] <= stop_s]
    after = [point for point in curve if point[0] >= resume_s]
    # Lines that arrive together have the same time and yield no rate.
    earlier = [point for point in before if point[0] < before[-1][0]]
    if not earlier or not after:
        return curve
    (t0, v0), (t1, v1) = earlier[-1], before[-1]
    at_stop = min(v1 + (v1 - v0) / (t1 - t0) * (stop_s - t1), after[0][1])
    return [*before, (stop_s, at_stop), *([(resume_s, at_stop)] if resume_s > stop_s else []), *after]


def window_walk_s(samples: Sequence[Sample], stop_s: float | None, resume_s: float, window_pages: int) -> float | None:
    """Time in seconds from the resume until every walker has walked its slice of the working window once."""
    walkers = len(samples[0].visits) if samples else 0
    ends = []
    for walker in range(walkers):
        curve = pages_curve(samples, stop_s, resume_s, walker)
        before = value_at(curve, resume_s)
        if before is None:
            return None
        after = [(resume_s, before), *(point for point in curve if point[0] > resume_s)]
        ends.append(time_when(after, before + -(-window_pages // walkers)))
    known = [end for end in ends if end is not None]
    return max(known) - resume_s if known and len(known) == walkers else None


def time_when(curve: Curve, value: float) -> float | None:
    """First time at which a growing curve reaches a value; None if it never does."""
    for (t0, v0), (t1, v1) in pairwise(curve):
        if v0 < value <= v1:
            return t0 + (t1 - t0) * (value - v0) / (v1 - v0)
    return None


def page_waits_ms(samples: Sequence[SchedSample], resume_s: float, completed_s: float) -> list[float] | None:
    """Wall time of each vCPU thread minus its time on a CPU and in a run queue, in ms."""
    on_cpu = _used_s([(sample.time_s, sample.on_cpu_s) for sample in samples], resume_s, completed_s)
    queued = _used_s([(sample.time_s, sample.run_queue_s) for sample in samples], resume_s, completed_s)
    if on_cpu is None or queued is None:
        return None
    return [max(0.0, (completed_s - resume_s - one - other) * 1000) for one, other in zip(on_cpu, queued, strict=True)]


def run_queue_ms(samples: Sequence[SchedSample], resume_s: float, completed_s: float) -> float | None:
    """Time in ms that the vCPU threads waited for a processor between two times, throttling included."""
    queued = _used_s([(sample.time_s, sample.run_queue_s) for sample in samples], resume_s, completed_s)
    return None if queued is None else sum(queued) * 1000


def processor_s(
    samples: Sequence[SchedSample], start_s: float, end_s: float, resumes: bool
) -> tuple[float, float] | None:
    """Time in s that the vCPU threads ran between two times, all added up, and the part of it in the kernel.

    :param resumes: ``start_s`` is the resume, before which the threads sleep; else its sample is interpolated.
    """
    found = []
    for counters in (
        [(sample.time_s, sample.on_cpu_s) for sample in samples],
        [(sample.time_s, sample.kernel_s) for sample in samples],
    ):
        used = _used_s(counters if resumes else _from(counters, start_s), start_s, end_s)
        if used is None:
            return None
        found.append(sum(used))
    return found[0], found[1]


def _from(counters: Sequence[tuple[float, tuple[float, ...]]], start_s: float) -> list[tuple[float, tuple[float, ...]]]:
    """The counters from a time on, at which they are interpolated; empty if they do not span it."""
    threads = range(len(counters[0][1]) if counters else 0)
    values = [value_at([(time_s, of[thread]) for time_s, of in counters], start_s) for thread in threads]
    known = tuple(value for value in values if value is not None)
    after = [(time_s, of) for time_s, of in counters if time_s > start_s]
    return [(start_s, known), *after] if known and len(known) == len(values) else []


def _used_s(
    counters: Sequence[tuple[float, tuple[float, ...]]], resume_s: float, completed_s: float
) -> list[float] | None:
    """How far each thread's counter went from the resume to completion.

    Before the resume the threads sleep, so any earlier sample has the counters of the resume.
    """
    before = [values for time_s, values in counters if time_s <= resume_s]
    if not before:
        return None
    found = []
    for thread, start_s in enumerate(before[-1]):
        end_s = value_at([(time_s, values[thread]) for time_s, values in counters], completed_s)
        if end_s is None:
            return None
        found.append(end_s - start_s)
    return found


def steady_window(completed_s: float, end_s: float) -> tuple[float, float] | None:
    """The end of the observation window, where the guest's rate counts as steady; None if it is too short."""
    start_s = max(completed_s + STEADY_SETTLE_S, end_s - STEADY_MAX_S)
    return (start_s, end_s) if end_s - start_s >= STEADY_MIN_S else None


def longest_gap_ms(samples: Sequence[Sample], start_s: float, end_s: float) -> float | None:
    """Longest time in ms without a line from the guest around the switch: its blackout, seen from outside."""
    times = [sample.time_s for sample in samples if start_s <= sample.time_s <= end_s]
    gaps = [after - before for before, after in pairwise(times)]
    return max(gaps) * 1000 if gaps else None
