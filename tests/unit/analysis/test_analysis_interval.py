# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Intervals: a method against itself, simulated, must differ in at most 5 % of comparisons."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.analysis.statistics.interval import Values, arm, p_value, ratio_interval

SIMULATIONS = 8000
# A rate of 5 % shows as more than this in fewer than one of 1000 such simulations.
MOST = 0.05 + 3.1 * np.sqrt(0.05 * 0.95 / SIMULATIONS)


def _noise(kind: str, random: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Return values around 1 that scatter by about 20 %, as downtimes of repeats do."""
    normal = random.standard_normal(shape)
    if kind == "normal":
        return 1 + 0.2 * normal
    if kind == "skewed":
        return np.exp(0.2 * normal)
    return (1 + 0.1 * normal) * np.where(random.random(shape) < 0.1, 1.5, 1)  # now and then a disturbed trial


def _groups(kind: str, random: np.random.Generator, workloads: int, repeats: int) -> list[Values]:
    """Return simulations of one method: a workload takes twice as long as the one before, and scatters as much more."""
    return [2.0**number * _noise(kind, random, (SIMULATIONS, repeats)) for number in range(workloads)]


@pytest.mark.parametrize("repeats", [3, 5, 10])
@pytest.mark.parametrize("workloads", [1, 4, 7])
@pytest.mark.parametrize("kind", ["normal", "skewed", "disturbed"])
def test_a_method_differs_from_itself_in_at_most_5_percent(kind: str, workloads: int, repeats: int) -> None:
    random = np.random.default_rng([repeats, workloads, len(kind)])
    arms = [arm(_groups(kind, random, workloads, repeats)) for _ in range(2)]
    low, high = ratio_interval(*arms)
    assert np.mean((low > 1) | (high < 1)) <= MOST


def test_the_percentile_bootstrap_would_not_do() -> None:
    random = np.random.default_rng(1)
    false = 0
    for _ in range(400):
        base, new = (random.choice(1 + 0.2 * random.standard_normal(3), size=(1000, 3)).mean(axis=1) for _ in range(2))
        low, high = np.percentile(new / base, [2.5, 97.5])
        false += bool(low > 1 or high < 1)
    assert false / 400 > 0.1


@pytest.mark.parametrize("repeats", [3, 5, 10])
@pytest.mark.parametrize("ratio", [0.3, 2.0])
def test_a_true_difference_lies_in_95_percent_of_intervals(ratio: float, repeats: int) -> None:
    random = np.random.default_rng(repeats)
    base = arm(_groups("normal", random, 4, repeats))
    new = arm([ratio * values for values in _groups("normal", random, 4, repeats)])
    low, high = ratio_interval(base, new)
    assert np.mean((low <= ratio) & (ratio <= high)) >= 1 - MOST


def test_values_that_never_differ_have_an_interval_without_width() -> None:
    low, high = ratio_interval(arm([np.full(3, 10.0)]), arm([np.full(3, 5.0)]))
    assert (float(low), float(high)) == (0.5, 0.5)
    assert p_value(arm([np.full(3, 10.0)]), arm([np.full(3, 5.0)])) == 0
    assert p_value(arm([np.full(3, 10.0)]), arm([np.full(3, 10.0)])) == 1


def test_single_repeats_have_neither_interval_nor_p_value() -> None:
    single, several = arm([np.array([1.0])]), arm([np.array([1.0, 2.0])])
    assert np.isnan(ratio_interval(single, several)).all()
    assert np.isnan(ratio_interval(several, single)).all()
    assert np.isnan(p_value(several, single))


_values = st.lists(st.floats(min_value=0.1, max_value=1e5), min_size=2, max_size=5).map(np.array)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(_values, _values), min_size=1, max_size=3), st.sampled_from([0.8, 0.95, 0.999]))
def test_the_p_value_says_what_the_interval_says(groups: list[tuple[Values, Values]], confidence: float) -> None:
    base, new = (arm([pair[side] for pair in groups]) for side in (0, 1))
    low, high = ratio_interval(base, new, confidence)
    if np.isnan(low):
        return
    p = p_value(base, new)
    if abs(p - (1 - confidence)) > 1e-6 and min(abs(low - 1), abs(high - 1)) > 1e-6:
        assert (p < 1 - confidence) == (low > 1 or high < 1)
    # A scale common to both sides changes nothing.
    scaled = ratio_interval(*(arm([8 * pair[side] for pair in groups]) for side in (0, 1)), confidence)
    assert scaled == (pytest.approx(low), pytest.approx(high))
