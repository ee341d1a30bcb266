# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The work per visit that gives the guest a rate: how fast it walks then decides what a migration method is worth.

A visit takes as long as it takes to get there, and longer by the same time for each word it hashes. So two rates give
the work for a third, which is measured, and corrected until it is near enough. Where a word is a time, one rate does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from .telemetry import MB, PAGE_BYTES, Sample

# The rate of the paper's guests, the target of a workload that names none.
PAPER_MB_PER_S = 85.0
# How near to the target is near enough, and how uncertain it may be: half of the interval.
TOLERANCE, UNCERTAINTY = 0.03, 0.10
# A measurement is that many readings; with fewer, this is the 97.5 % quantile of Student's t that no longer holds.
READINGS, STUDENT_T = 5, 2.776
READING_S = 0.4
ROUNDS = 6
# On an emulated processor, this work gives about the paper's rate.
FIRST_WORDS = 20 * PAGE_BYTES // 8
MOST_WORDS = 1 << 30

# Brings the guest to a work, in words, and returns that many readings of its rate in MB/s.
Measure = Callable[[int, int], Sequence[float]]


class TooSlowError(Exception):
    """The guest does not reach the rate on this machine.

    :ivar reachable_mb_per_s: what it does reach.
    """

    def __init__(self, asked_mb_per_s: float, reachable_mb_per_s: float) -> None:
        self.reachable_mb_per_s = reachable_mb_per_s
        super().__init__(
            f"on this machine the guest reaches {reachable_mb_per_s:.0f} MB/s at most, and not "
            f"{asked_mb_per_s:g} MB/s: ask for a rate_mb_per_s of no more than {math.floor(0.9 * reachable_mb_per_s)}"
        )


@dataclass(frozen=True)
class Calibration:
    """What was found, as in the record.

    :ivar target_mb_per_s: the rate to be reached.
    :ivar rate_mb_per_s: the rate reached, a mean with the 95 % interval from ``low_mb_per_s`` to ``high_mb_per_s``.
    :ivar work_words: the words that a visit hashes for that.
    :ivar took_s: how long it took to find them, in seconds.
    """

    target_mb_per_s: float
    rate_mb_per_s: float
    low_mb_per_s: float
    high_mb_per_s: float
    work_words: int
    took_s: float

    @property
    def is_near(self) -> bool:
        """Whether the rate is as near to the target, and as certain, as it should be."""
        return self._off <= TOLERANCE and self._half <= UNCERTAINTY

    @property
    def error(self) -> float:
        """How far the true rate may be from the target, as a share of it."""
        return self._off + self._half

    @property
    def _off(self) -> float:
        return abs(self.rate_mb_per_s / self.target_mb_per_s - 1)

    @property
    def _half(self) -> float:
        return (self.high_mb_per_s - self.low_mb_per_s) / 2 / self.target_mb_per_s


def calibrate(measure: Measure, asked_mb_per_s: float | None, word_s: float | None = None) -> Calibration:
    """Find the work that gives a rate.

    :param asked_mb_per_s: the rate that the user asks for; with None it is the paper's, or the highest that there is.
    :param word_s: for how long a word makes the guest wait in each MB, in seconds, where words are waited for and not
        hashed: its rate without any then says nothing of its rate with some.
    :raises TooSlowError: the guest does not reach the rate that the user asks for.
    """
    begun_s = time.monotonic()
    target = PAPER_MB_PER_S if asked_mb_per_s is None else asked_mb_per_s
    # Of the idle walk, the best reading counts: a machine that is busy for a moment is not slow.
    fastest = max(measure(0, 2))
    if fastest < target * (1 + TOLERANCE):
        rates = measure(0, READINGS)
        if max(rates) < target * (1 - TOLERANCE):
            if asked_mb_per_s is not None:
                raise TooSlowError(asked_mb_per_s, fmean(rates))
            return _calibration(fmean(rates), rates, 0, begun_s)
        fastest = max(fastest, *rates)

    def next_words(words: int, rates: Sequence[float]) -> int:
        if word_s is None:
            return _on_the_line(words, rates, fastest, target)
        return min(MOST_WORDS, max(0, round(words + (1 / target - 1 / fmean(rates)) / word_s)))

    words = next_words(FIRST_WORDS, measure(FIRST_WORDS, 2))
    tried: list[Calibration] = []
    for _round in range(ROUNDS):
        rates = measure(words, READINGS)
        tried.append(_calibration(target, rates, words, begun_s))
        if tried[-1].is_near:
            break
        words = next_words(words, rates)
    return min(tried, key=lambda one: one.error)


def _on_the_line(words: int, rates: Sequence[float], fastest: float, target: float) -> int:
    """The work on the line through the idle walk's time and this work's; times are those of a MB, in seconds."""
    idle_s, loaded_s = 1 / fastest, 1 / fmean(rates)
    if words == 0 or loaded_s <= idle_s:
        return max(1, words * 2) if words else FIRST_WORDS
    wanted = words * (1 / target - idle_s) / (loaded_s - idle_s)
    return min(MOST_WORDS, max(0, round(wanted)))


def _calibration(target: float, rates: Sequence[float], words: int, begun_s: float) -> Calibration:
    mean = fmean(rates)
    half = STUDENT_T * stdev(rates) / math.sqrt(len(rates))
    return Calibration(target, mean, mean - half, mean + half, words, time.monotonic() - begun_s)


def readings(samples: Sequence[Sample], reading_s: float = READING_S) -> list[float]:
    """Rates in MB/s, all walkers together, over one stretch of samples after the other, by the guest's own clock."""
    found: list[float] = []
    begin: Sample | None = None
    for sample in samples:
        begin = begin or sample
        passed_s = sample.guest_time_s - begin.guest_time_s
        if passed_s >= reading_s:
            found.append((sample.pages - begin.pages) * PAGE_BYTES / MB / passed_s)
            begin = sample
    return found
