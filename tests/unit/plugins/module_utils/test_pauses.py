# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Time for which a guest did not run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils._measure.pauses import paused_s

EVENTS = st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["STOP", "RESUME", "MIGRATION"])), max_size=20)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], 0.0),
        ([(12.0, "STOP"), (13.5, "RESUME")], 1.5),
        ([(12.0, "STOP"), (13.0, "MIGRATION"), (13.5, "STOP"), (14.0, "RESUME")], 2.0),
        ([(5.0, "STOP"), (11.0, "RESUME")], 1.0),
        ([(19.0, "STOP")], 1.0),
        ([(11.0, "RESUME"), (19.5, "STOP"), (30.0, "RESUME")], 1.5),
        ([(5.0, "STOP"), (6.0, "RESUME"), (25.0, "STOP")], 0.0),
    ],
)
def test_pauses_count_between_the_two_times(events: list[tuple[float, str]], expected: float) -> None:
    assert paused_s(events, 10.0, 20.0) == pytest.approx(expected)


@given(EVENTS.map(sorted), st.floats(0, 50), st.floats(50, 100))
def test_no_pause_is_longer_than_the_time_looked_at(
    events: list[tuple[float, str]], start_s: float, end_s: float
) -> None:
    whole = paused_s(events, start_s, end_s)
    assert 0 <= whole <= end_s - start_s + 1e-9
