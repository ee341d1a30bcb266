# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The work that gives a guest a rate, found on guests of which the truth is known."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils._guest.calibration import (
    READINGS,
    TOLERANCE,
    TooSlowError,
    calibrate,
    readings,
)
from ansible_collections.vcsp.testbed.plugins.module_utils._guest.telemetry import Sample


class Guest:
    """A guest whose visits take a time to begin with, and a time for each word, in µs."""

    def __init__(self, idle_us: float, word_us: float, noise: float = 0.0) -> None:
        self.idle_us, self.word_us, self.noise = idle_us, word_us, noise
        self.random = random.Random(1)
        self.measured: list[int] = []

    def rate_mb_per_s(self, words: int) -> float:
        return 1e6 / 256 / (self.idle_us + words * self.word_us)

    def measure(self, words: int, count: int) -> Sequence[float]:
        self.measured.append(words)
        return [self.rate_mb_per_s(words) * (1 + self.random.gauss(0, self.noise)) for _ in range(count)]


@given(st.floats(1, 30), st.floats(1e-4, 1e-2), st.floats(5, 100))
def test_the_work_gives_the_rate_to_three_percent(idle_us: float, word_us: float, rate: float) -> None:
    guest = Guest(idle_us, word_us)
    found = calibrate(guest.measure, rate)
    assert found.target_mb_per_s == rate
    assert guest.rate_mb_per_s(found.work_words) == pytest.approx(rate, rel=TOLERANCE)
    assert found.low_mb_per_s <= found.rate_mb_per_s <= found.high_mb_per_s
    assert found.is_near


def test_it_takes_few_measurements_where_the_guest_is_steady() -> None:
    guest = Guest(5, 0.002, noise=0.005)
    assert calibrate(guest.measure, 85).is_near
    assert len(guest.measured) <= 4


def test_the_interval_grows_with_the_noise() -> None:
    quiet, noisy = (calibrate(Guest(5, 0.002, noise).measure, 30) for noise in (0.001, 0.02))
    assert noisy.high_mb_per_s - noisy.low_mb_per_s > 2 * (quiet.high_mb_per_s - quiet.low_mb_per_s)


def test_a_rate_by_chance_is_not_believed() -> None:
    guest = Guest(5, 0.002, noise=0.3)
    assert not calibrate(guest.measure, 30).is_near
    assert len(guest.measured) > 6, "it goes on looking"


def test_a_rate_out_of_reach_is_refused_and_the_one_in_reach_named() -> None:
    slow = Guest(65, 0.01)
    with pytest.raises(
        TooSlowError, match=r"reaches 60 MB/s at most, and not 85 MB/s: ask for .* no more than 54"
    ) as caught:
        calibrate(slow.measure, 85)
    assert caught.value.reachable_mb_per_s == pytest.approx(60, rel=0.01)
    assert calibrate(slow.measure, 54).is_near


def test_the_rate_that_nobody_asked_for_becomes_the_highest_there_is() -> None:
    found = calibrate(Guest(65, 0.01).measure, None)
    assert found.target_mb_per_s == found.rate_mb_per_s == pytest.approx(60, rel=0.01)
    assert found.work_words == 0
    assert calibrate(Guest(5, 0.01).measure, None).target_mb_per_s == 85


@given(st.floats(1, 60), st.floats(0, 20), st.floats(5, 60))
def test_a_word_that_is_a_time_gives_the_rate_whatever_the_idle_walk_takes(
    idle_us: float, beside_us: float, rate: float
) -> None:
    class Waiting(Guest):
        def rate_mb_per_s(self, words: int) -> float:
            return 1e6 / 256 / max(self.idle_us, words * self.word_us + beside_us)

    guest = Waiting(idle_us, 0.005)
    found = calibrate(guest.measure, rate, 256 * 0.005e-6)
    assert guest.rate_mb_per_s(found.work_words) == pytest.approx(rate, rel=TOLERANCE)
    assert found.is_near
    assert len(guest.measured) <= 6


def test_a_guest_that_cannot_be_told_from_idle_ends_too() -> None:
    guest = Guest(5, 0.0)
    assert not calibrate(guest.measure, 30).is_near
    assert len(guest.measured) < 10


def test_readings_are_stretches_of_samples_by_the_guests_clock() -> None:
    samples = [Sample(0.0, "source", "boot", tenth / 10, 256 * tenth, 0, 0.0, (256 * tenth,)) for tenth in range(11)]
    assert readings(samples, 0.35) == pytest.approx([10.0, 10.0])
    assert readings([]) == readings(samples[:1]) == []
    assert len(readings(samples, 0.0999)) == 10
    assert READINGS > 1
