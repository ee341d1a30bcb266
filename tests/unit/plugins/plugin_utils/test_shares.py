# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How trials are shared out over pairs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.shares import deal

PAIRS: dict[str, str | None] = dict.fromkeys(["left", "right"])


def scenario(seed: int = 1, saved_states: int = 1) -> dict[str, Any]:
    return {"seed": seed, "saved_states": saved_states, "repeats": 100}


def trials(repeats: int, cells: int = 3) -> list[dict[str, Any]]:
    return [{"id": f"r{repeat}-{cell}", "repeat": repeat} for repeat in range(1, repeats + 1) for cell in range(cells)]


def owners(dealt: list[dict[str, Any]]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for trial in dealt:
        found.setdefault(trial["repeat"], set()).add(trial["pair"])
    return found


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_every_pair_gets_whole_repeats_and_none_has_two_more_than_another(repeats: int, number: int, seed: int) -> None:
    pairs: dict[str, str | None] = dict.fromkeys(f"pair{index}" for index in range(number))
    dealt = deal(trials(repeats), pairs, {}, scenario(seed))
    assert [{"id": trial["id"], "repeat": trial["repeat"]} for trial in dealt] == trials(repeats)
    assert all(len(names) == 1 for names in owners(dealt).values())
    counts = Counter(dict.fromkeys(pairs, 0))
    counts.update(pair for names in owners(dealt).values() for pair in names)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert dealt == deal(trials(repeats), dict(reversed(pairs.items())), {}, scenario(seed))


@given(st.integers(2, 4), st.integers(2, 3), st.integers(0, 2**32 - 1))
def test_no_pair_has_copies_of_one_guest(number: int, states: int, seed: int) -> None:
    pairs: dict[str, str | None] = dict.fromkeys(f"pair{index}" for index in range(number))
    dealt = deal(trials(number * states), pairs, {}, scenario(seed, states))
    for pair in pairs:
        assert len({(trial["repeat"] - 1) % states for trial in dealt if trial["pair"] == pair}) >= 2


def test_the_seed_decides_who_begins() -> None:
    assert {deal(trials(1), PAIRS, {}, scenario(seed))[0]["pair"] for seed in range(20)} == {*PAIRS}


def test_a_pair_goes_on_with_what_it_began() -> None:
    fresh = deal(trials(4), PAIRS, {}, scenario())
    first, second = fresh[0]["pair"], fresh[3]["pair"]
    # The first pair has ended its first repeat and is in the middle of its second.
    left = [trial for trial in trials(4) if trial["repeat"] != 1 and trial["id"] != "r3-0"]
    assert owners(deal(left, PAIRS, {(None, 1): first, (None, 3): first}, scenario())) == {
        2: {second},
        3: {first},
        4: {second},
    }


def test_the_living_share_what_a_dead_pair_left() -> None:
    names = ["dead", "left", "right"] * 2
    begun = {(None, repeat): name for repeat, name in enumerate(names, start=1)}
    left = [trial for trial in trials(7) if trial["repeat"] in (4, 7)]
    found = owners(deal(left, PAIRS, begun, scenario()))
    assert found[4] | found[7] == {*PAIRS}


def on_stacks(repeats: int, *stacks: str) -> list[dict[str, Any]]:
    return [{**trial, "stack": stack} for trial in trials(repeats) for stack in stacks]


@given(st.integers(1, 8), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_each_stack_is_measured_by_its_own_pairs_alone(repeats: int, old: int, new: int, seed: int) -> None:
    pairs: dict[str, str | None] = {f"old{index}": "old" for index in range(old)}
    pairs |= {f"new{index}": "new" for index in range(new)}
    dealt = deal(on_stacks(repeats, "old", "new"), pairs, {}, scenario(seed))
    assert len(dealt) == 2 * len(trials(repeats))
    for stack in ("old", "new"):
        own = [trial for trial in dealt if trial["stack"] == stack]
        assert all(trial["pair"].startswith(stack) for trial in own)
        assert all(len(names) == 1 for names in owners(own).values())


def test_a_stack_without_a_pair_is_left_out_and_its_trials_go_to_no_other() -> None:
    begun = {("old", 1): "dead", ("new", 1): "living"}
    dealt = deal(on_stacks(2, "old", "new"), {"living": "new"}, begun, scenario())
    assert len(dealt) == len(trials(2))
    assert {(trial["stack"], trial["pair"]) for trial in dealt} == {("new", "living")}


def test_a_pair_that_got_another_stack_does_not_go_on_with_what_it_began() -> None:
    dealt = deal(on_stacks(1, "old", "new"), {"left": "new", "right": "old"}, {("old", 1): "left"}, scenario())
    assert {(trial["stack"], trial["pair"]) for trial in dealt} == {("old", "right"), ("new", "left")}
