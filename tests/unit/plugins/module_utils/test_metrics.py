# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measurements checked against values computed by hand, and properties that hold for all curves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils._guest.telemetry import Sample
from ansible_collections.vcsp.testbed.plugins.module_utils._measure import metrics
from ansible_collections.vcsp.testbed.plugins.module_utils._measure.instruments import SchedSample


def sample(time_s: float, pages: int) -> Sample:
    return Sample(time_s, "source", "boot", time_s, pages, 0, 0.0, (pages,))


@st.composite
def samples(draw: st.DrawFn) -> list[Sample]:
    """Lines of a guest: neither time nor pages ever decrease, and lines may arrive together."""
    steps = draw(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 5000)), min_size=1, max_size=30))
    found, time_ms, pages = [], 0, 0
    for passed_ms, walked in steps:
        time_ms, pages = time_ms + passed_ms, pages + walked
        found.append(sample(time_ms / 1000, pages))
    return found


times = st.floats(-1, 16, allow_nan=False)


def test_a_curve_is_linear_between_its_points_and_none_outside() -> None:
    curve = [(1.0, 0.0), (3.0, 10.0)]
    assert [metrics.value_at(curve, time_s) for time_s in (0.9, 1.0, 2.5, 3.0, 3.1)] == [None, 0, 7.5, 10, None]
    assert metrics.value_at([], 1.0) is None


def test_the_rate_is_in_mb_per_s() -> None:
    curve = [(0.0, 0.0), (2.0, 1024.0)]  # 4 MB in two seconds
    assert metrics.rate_mb_per_s(curve, 0.5, 1.5) == pytest.approx(2.0)
    assert metrics.rate_mb_per_s(curve, 1.0, 2.5) is None
    assert metrics.rate_mb_per_s(curve, 1.0, 1.0) is None


def test_the_curve_is_flat_between_stop_and_resume() -> None:
    lines = [sample(0.0, 0), sample(0.1, 100), sample(0.4, 150)]
    # 1000 pages/s until the stop at 0.12, then still until 0.35.
    assert metrics.pages_curve(lines, 0.12, 0.35) == [
        (0.0, 0.0),
        (0.1, 100.0),
        (0.12, pytest.approx(120.0)),
        (0.35, pytest.approx(120.0)),
        (0.4, 150.0),
    ]


def test_extrapolation_never_exceeds_what_the_destination_reports() -> None:
    lines = [sample(0.0, 0), sample(0.1, 100), sample(0.4, 105)]
    curve = metrics.pages_curve(lines, 0.19, 0.35)
    assert curve[2:4] == [(0.19, 105.0), (0.35, 105.0)]


def test_lines_that_arrive_together_yield_no_rate() -> None:
    lines = [sample(0.0, 0), sample(0.2, 100), sample(0.2, 200), sample(0.5, 300)]
    assert metrics.value_at(metrics.pages_curve(lines, 0.25, 0.3), 0.25) == pytest.approx(250.0)


@pytest.mark.parametrize(("stop_s", "resume_s"), [(None, 0.3), (0.1, None), (0.05, 0.3), (0.1, 9.0)])
def test_without_stop_and_resume_and_lines_around_them_the_curve_is_unchanged(
    stop_s: float | None, resume_s: float | None
) -> None:
    lines = [sample(0.0, 0), sample(0.1, 100), sample(0.4, 150)]
    assert metrics.pages_curve(lines[:1] if stop_s == 0.05 else lines, stop_s, resume_s) == [
        (line.time_s, line.pages) for line in (lines[:1] if stop_s == 0.05 else lines)
    ]


@given(samples(), times, st.floats(0, 2, allow_nan=False))
def test_a_curve_never_decreases(lines: list[Sample], stop_s: float, blackout_s: float) -> None:
    curve = metrics.pages_curve(lines, stop_s, stop_s + blackout_s)
    assert curve == sorted(curve)
    assert [value for _time, value in curve] == sorted(value for _time, value in curve)
    assert {
        (line.time_s, float(line.pages)) for line in lines if not stop_s < line.time_s < stop_s + blackout_s
    } <= set(curve)


@given(samples(), times, times)
def test_a_rate_is_between_zero_and_all_pages_walked(lines: list[Sample], start_s: float, end_s: float) -> None:
    rate = metrics.rate_mb_per_s([(line.time_s, float(line.pages)) for line in lines], start_s, end_s)
    if rate is not None:
        walked_mb = (lines[-1].pages - lines[0].pages) / 256
        assert -1e-6 <= rate * (end_s - start_s) <= walked_mb + 1e-6


@given(samples(), st.integers(1, 150_000))
def test_time_when_is_when_the_curve_reaches_the_value(lines: list[Sample], value: int) -> None:
    curve = [(line.time_s, float(line.pages)) for line in lines]
    when = metrics.time_when(curve, value)
    if when is None:
        assert not curve[0][1] < value <= curve[-1][1]
    else:
        assert max(v for t, v in curve if t <= when + 1e-9) >= value or metrics.value_at(curve, when) == pytest.approx(
            value
        )


def test_page_wait_is_wall_time_minus_processor_and_queue_time_of_each_vcpu() -> None:
    # One second of post-copy; the first vCPU runs for 0.4 s and queues for 0.2 s, the second for 0.2 s and 0.1 s.
    readings = [
        SchedSample(9.0, (5.0, 1.0), (1.0, 0.0), (0.5, 0.5)),
        SchedSample(10.5, (5.2, 1.1), (1.1, 0.0), (0.6, 0.5)),
        SchedSample(11.5, (5.6, 1.3), (1.3, 0.2), (0.8, 0.6)),
    ]
    assert metrics.page_waits_ms(readings, 10.0, 11.0) == pytest.approx([400.0, 700.0])
    assert metrics.run_queue_ms(readings, 10.0, 11.0) == pytest.approx(300.0)
    assert metrics.processor_s(readings, 10.0, 11.0, resumes=True) == pytest.approx((0.6, 0.25))
    assert metrics.processor_s(readings, 10.5, 11.0, resumes=False) == pytest.approx((0.3, 0.15))
    assert metrics.processor_s(readings, 10.7, 11.2, resumes=False) == pytest.approx((0.3, 0.15))


@pytest.mark.parametrize("readings", [[], [SchedSample(10.5, (0,), (0,), (0,))], [SchedSample(9.0, (0,), (0,), (0,))]])
def test_page_wait_needs_samples_on_both_sides(readings: list[SchedSample]) -> None:
    assert metrics.page_waits_ms(readings, 10.0, 11.0) is None
    assert metrics.run_queue_ms(readings, 10.0, 11.0) is None
    assert metrics.processor_s(readings, 10.0, 11.0, resumes=True) is None
    assert metrics.processor_s(readings, 10.0, 11.0, resumes=False) is None


@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 0.5), st.floats(0, 0.5)), min_size=2, max_size=20),
    st.integers(1, 16),
)
def test_page_wait_never_exceeds_the_post_copy_phase(steps: list[tuple[float, float, float]], vcpus: int) -> None:
    readings = [SchedSample(0.0, (0.0,) * vcpus, (0.0,) * vcpus, (0.0,) * vcpus)]
    for passed_s, on_cpu_s, queued_s in steps:
        last = readings[-1]
        on_cpu, queued = (tuple(s + more for s in so_far) for so_far, more in (
            (last.on_cpu_s, on_cpu_s), (last.run_queue_s, queued_s)
        ))  # fmt: skip
        readings.append(SchedSample(last.time_s + passed_s, on_cpu, queued, last.kernel_s))
    resumed, completed = readings[1].time_s, readings[-1].time_s
    waits = metrics.page_waits_ms(readings, resumed, completed)
    assert waits is not None
    assert len(waits) == vcpus
    assert all(0 <= wait <= (completed - resumed) * 1000 + 1e-6 for wait in waits)


def test_the_steady_rate_comes_from_the_end_of_the_window() -> None:
    assert metrics.steady_window(10.0, 20.0) == (18.0, 20.0)
    assert metrics.steady_window(18.5, 20.0) == (18.8, 20.0)
    assert metrics.steady_window(19.4, 20.0) is None
    assert metrics.steady_window(21.0, 20.0) is None


def test_longest_gap() -> None:
    lines = [sample(0.0, 0), sample(1.0, 1), sample(1.1, 2), sample(1.5, 3), sample(9.0, 4)]
    assert metrics.longest_gap_ms(lines, 0.5, 2.0) == pytest.approx(400.0)
    assert metrics.longest_gap_ms(lines, 8.0, 9.5) is None


def test_the_window_is_walked_once_the_last_walker_has_walked_its_slice() -> None:
    def two(time_s: float, first: int, second: int) -> Sample:
        return Sample(time_s, "destination", "boot", time_s, first + second, 0, 0.0, (first, second))

    samples = [two(1.0, 0, 0), two(2.0, 100, 50), two(3.0, 200, 100)]
    # Slices of 50 pages: the first walker needs half a second, the second a whole one.
    assert metrics.window_walk_s(samples, None, 1.0, 100) == pytest.approx(1.0)
    assert metrics.window_walk_s(samples, None, 1.0, 300) is None
    assert metrics.window_walk_s([], None, 1.0, 100) is None
