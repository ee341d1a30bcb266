# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The times of visits: what the guest reports becomes quantiles."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils._guest.telemetry import Times
from ansible_collections.vcsp.testbed.plugins.module_utils._measure.visit_times import quantile, visit_times


@given(st.lists(st.integers(1, 1 << 39), min_size=1), st.sampled_from([0.5, 0.99, 0.999]))
def test_a_quantile_is_within_a_factor_of_two(visits_ns: list[int], share: float) -> None:
    found_ns = quantile(Counter(each.bit_length() - 1 for each in visits_ns), share)
    true_ns = sorted(visits_ns)[math.ceil(share * len(visits_ns)) - 1]
    assert found_ns / 2 <= true_ns <= found_ns * 2


def test_only_visits_after_the_switch_count() -> None:
    times = [
        Times(8.0, "source", "a", 900.0, {14: 1000, 29: 1}),
        Times(9.9, "source", "a", 0.04, {14: 3000, 29: 1}),
        Times(10.2, "destination", "a", 3.5, {14: 3090, 20: 9, 21: 1, 29: 1}),
        Times(11.0, "destination", "a", 1.5, {14: 3980, 20: 19, 21: 1, 29: 1}),
        Times(12.0, "destination", "a", 70.0, {14: 9000, 20: 19, 21: 1, 26: 1, 29: 1}),
    ]
    found = visit_times(times, 10.0, 11.1)
    assert found["histogram"] == {"14": 980, "20": 19, "21": 1}
    assert found["visits"] == 1000
    assert found["longest_ms"] == 3.5
    assert 16.384 < found["p50_us"] < 32.768
    assert 1048 < found["p99_us"] < 2097
    assert found["p99_9_us"] == pytest.approx(2097.152)


def test_without_a_report_on_both_sides_nothing_is_known() -> None:
    report = Times(10.0, "source", "a", 1.0, {14: 10})
    assert visit_times([], 10, 11) == {}
    assert visit_times([report], 10, 11) == {}
    assert visit_times([report], 9, 11) == {}
