# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What progress looks like."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.plugin_utils._console.progress import Course, bar, counter, trial_line
from ansible_collections.vcsp.testbed.plugins.plugin_utils._console.status_line import duration


def trial(number: int, method: str = "vcsp", window_mb: int = 64) -> dict[str, Any]:
    return {
        "id": f"t{number}",
        "method": {"name": method},
        "workload": {"window_mb": window_mb, "pattern": "sequential"},
        "baseline_s": 2,
        "observation_s": 8,
    }


def recorded(of: dict[str, Any], **changes: Any) -> dict[str, Any]:
    measurements = {"total_migration_time_s": 2.125}
    return {"trial": of, "valid": True, "status": "valid", "reasons": [], "measurements": measurements, **changes}


def test_line() -> None:
    trials = [trial(number) for number in range(1, 41)] + [trial(41, "vcsp-prefetching")]
    course = Course(trials, done=7, began_s=100)
    course.end(trials[0], 115)
    expected = "[ 8/48] vcsp                64 MB sequential  ok         2.1 s  ██░░░░░░░░░░░░  17%  10 min 00 s left"
    assert trial_line(course, recorded(trials[0]), blocks=True) == expected


def test_line_of_a_failed_trial_without_blocks() -> None:
    course = Course([trial(1), trial(2)], done=0, began_s=0)
    course.end(trial(1), 5)
    line = trial_line(course, recorded(trial(1), valid=False, status="failed", measurements={}), blocks=False)
    assert line == "[1/2] vcsp    64 MB sequential  FAILED         -  #######.......  50%  5 s left"


def test_last_line_has_nothing_left() -> None:
    course = Course([trial(1)], done=0, began_s=0)
    course.end(trial(1), 12)
    assert trial_line(course, recorded(trial(1)), blocks=True).endswith("██████████████ 100%")


def test_time_left_knows_how_long_trials_are_watched() -> None:
    short, long = {**trial(1), "observation_s": 3}, {**trial(2), "observation_s": 40}
    course = Course([short, long, trial(3)], done=0, began_s=0)
    assert course.left_s is None
    course.end(short, 9)  # 5 s are known, so 4 s are everything else
    assert course.left_s == pytest.approx(42 + 4 + 10 + 4)
    course.end(trial(3), 25)
    assert course.left_s == pytest.approx(42 + 5)


def test_a_trial_of_a_stack_names_it() -> None:
    stacks = [{**trial(1), "pair": "left", "stack": "old"}, {**trial(2), "pair": "right", "stack": "newer"}]
    course = Course(stacks, done=0, began_s=0)
    course.end(stacks[0], 12)
    assert trial_line(course, recorded(stacks[0]), blocks=True).startswith(
        "[1/2] left   old    vcsp    64 MB sequential"
    )


def test_pairs_in_turns_and_side_by_side() -> None:
    pairs = [{**trial(number), "pair": pair} for number, pair in enumerate(["a", "longer", "a", "longer", "longer"])]
    course = Course(pairs, done=0, began_s=0)
    course.end(pairs[0], 12)
    assert course.began_s(pairs[1]) == 12
    assert course.left_s == pytest.approx(4 * 12)
    assert trial_line(course, recorded(pairs[0]), blocks=True).startswith("[1/5] a       vcsp    64 MB sequential")
    course = Course(pairs, done=0, began_s=0)
    course.side_by_side = True
    course.end(pairs[0], 12)
    assert (course.began_s(pairs[1]), course.began_s(pairs[2])) == (0, 12)
    # The longest share is the rest.
    assert course.left_s == pytest.approx(3 * 12)


def test_a_trial_ends_once() -> None:
    course = Course([trial(1), trial(2)], done=0, began_s=0)
    course.end(trial(1), 10)
    course.end(trial(1), 20)
    course.end(trial(9), 30)
    assert course.finished == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (250, "4 min 10 s"),
        (3599.7, "1 h 00 min"),
        (7499, "2 h 04 min"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_bar_and_counter() -> None:
    assert bar(0, blocks=False) == "..............   0%"
    assert bar(1, blocks=False) == "############## 100%"
    assert counter(7, 140) == "[  7/140]"
