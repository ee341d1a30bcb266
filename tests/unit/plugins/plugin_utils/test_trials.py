# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From a scenario to its trials."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils._link import Link
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.experiment import (
    ExperimentError,
    check_id,
    default_id,
)
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.schema import record_problems
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.gate import ScenarioError, load, read
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.trials import (
    default_observation_s,
    saved_states,
    trials,
)

QUICK = Path(__file__).resolve().parents[4] / "scenarios" / "quick.yml"


def test_every_cell_once_a_repeat() -> None:
    listed = trials(read(QUICK))
    assert [trial["index"] for trial in listed] == list(range(1, 37))
    assert {trial["total"] for trial in listed} == {36}
    assert len({trial["id"] for trial in listed}) == 36
    # The repeats follow each other, each with all of its twelve cells.
    assert [trial["repeat"] for trial in listed] == [1] * 12 + [2] * 12 + [3] * 12
    cells = Counter((trial["workload"]["window_mb"], trial["method"]["name"]) for trial in listed)
    assert set(cells.values()) == {3}
    assert len(cells) == 12


def test_order_comes_from_seed_and_repeat() -> None:
    scenario = read(QUICK)
    listed = trials(scenario)
    assert trials(scenario) == listed
    assert [trial["id"] for trial in trials({**scenario, "seed": 2})] != [trial["id"] for trial in listed]
    orders = [[trial["id"][4:] for trial in listed if trial["repeat"] == repeat] for repeat in (1, 2, 3)]
    assert orders[0] != orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2])
    # A repeat keeps its order when repeats are added later.
    assert [trial["id"] for trial in trials({**scenario, "repeats": 4})][:36] == [trial["id"] for trial in listed]


def test_a_trial(scenario: dict[str, Any]) -> None:
    method = {"name": "gentle", "vcpu_quota_percent": 35, "prefetch_pages": 7}
    scenario |= {"workloads": [{"window_mb": 64}], "methods": [method]}
    assert trials(load(scenario)) == [
        {
            "id": "r01-0064mb-sequential-gentle",
            "index": 1,
            "total": 1,
            "repeat": 1,
            "state": 1,
            "workload": {
                "window_mb": 64,
                "pattern": "sequential",
                "rate_mb_per_s": None,
                "work_per_page": None,
                "writes_percent": 100,
            },
            "method": {**load(scenario)["methods"][0], **method},
            "guest": {
                "system": "debian",
                "accelerator": "auto",
                "memory_mb": 512,
                "idle_mb": 0,
                "vcpus": 1,
                "thp": "madvise",
            },
            "link": {"rate_mbit": 1000, "delay_us": 100, "queue": "fair", "congestion_control": "cubic"},
            "baseline_s": 5,
            "observation_s": 11.04,
        }
    ]


def test_saved_states_are_dealt_to_the_repeats(scenario: dict[str, Any]) -> None:
    scenario |= {"repeats": 5, "saved_states": 2}
    assert {(trial["repeat"], trial["state"]) for trial in trials(load(scenario))} == {
        (1, 1), (2, 2), (3, 1), (4, 2), (5, 1),
    }  # fmt: skip
    # A state that no repeat would use is not saved.
    assert saved_states(load(scenario | {"repeats": 2, "saved_states": 9})) == 2


def test_ids_tell_workloads_apart(scenario: dict[str, Any]) -> None:
    scenario |= {
        "workloads": [
            {"window_mb": 64},
            {"window_mb": 64, "work_per_page": 8},
            {"window_mb": 64, "rate_mb_per_s": 30},
            {"window_mb": 64, "writes_percent": 50},
            {"window_mb": 64, "pattern": "random"},
            {"window_mb": 8},
        ],
        "methods": ["vcsp"],
    }
    assert {trial["id"] for trial in trials(load(scenario))} == {
        "r01-0064mb-sequential-vcsp",
        "r01-0064mb-sequential-vcsp-30mb_per_s",
        "r01-0064mb-sequential-vcsp-writes50",
        "r01-0064mb-sequential-vcsp-w8",
        "r01-0064mb-random-vcsp",
        "r01-0008mb-sequential-vcsp",
    }


def test_observation_grows_with_the_window_unless_told(scenario: dict[str, Any]) -> None:
    large, small, bare = (
        {"system": system, "memory_mb": mb, "idle_mb": 0}
        for system, mb in (("debian", 2048), ("debian", 512), ("bare", 512))
    )
    assert default_observation_s(large, 64, Link()) > default_observation_s(small, 64, Link())
    assert default_observation_s(bare, 64, Link()) < default_observation_s(small, 64, Link())
    assert default_observation_s(small, 64, Link(100)) > 224 * 8.388608 / 100, "all that is sent must fit in"
    assert default_observation_s(small, 8, Link(delay_us=40_000)) > 2048 * 0.08, "each fault waits for the link twice"
    # Measured: a window of 24 MB took 7014 faults of 4.36 ms and 0.3 s besides, one of 12 MB 3972 of 4.22 ms.
    assert default_observation_s(small, 24, Link(300, delay_us=2000), 57) > 7014 * 4.36e-3 + 0.8
    assert default_observation_s(small, 12, Link(300, delay_us=2000), 110) > 3972 * 4.22e-3 + 0.8
    assert [default_observation_s(small, window_mb, Link()) for window_mb in (8, 64, 512)] == [3.55, 9.53, 57.41]
    assert default_observation_s(small, 8, Link(), 32) == 3.55 + 0.5, "a walk at half the rate must fit in"
    idle = {**bare, "idle_mb": 64}
    for rate_mbit in (1000, 100, 10):
        more_s = default_observation_s(idle, 8, Link(rate_mbit)) - default_observation_s(bare, 8, Link(rate_mbit))
        assert more_s == pytest.approx(64 * 8.4 / rate_mbit, abs=0.02), "it crosses the link, and is not faulted in"
    told = trials(load({**scenario, "observation_s": 10}))
    assert {trial["observation_s"] for trial in told} == {10}


@given(st.text(), st.text(max_size=50), st.integers(1, 1000), st.integers(1, 800))
@example("a", "../../etc/passwd", 1, 1)
@example("a", "x'; touch pwned; '", 1, 1)
@example("a", "a\n", 1, 1)
@example("../x", "a", 1, 1)
@example("n" * 40, "n" * 40, 1000, 800)
def test_names_that_are_accepted_make_names_of_files(name: str, method: str, work: int, window_mb: int) -> None:
    workloads = [{"window_mb": window_mb, "work_per_page": one} for one in {work, 1}]
    guest = {"memory_mb": 1024}
    try:
        scenario = load({"name": name, "guest": guest, "workloads": workloads, "methods": [{"name": method}]})
    except ScenarioError:
        return
    check_id(default_id(scenario))
    for trial in trials(scenario):
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,199}", trial["id"])
        assert not any(problem.startswith("trial.id") for problem in record_problems({"trial": trial}))


@given(st.text())
@example("..")
@example("a/../b")
@example("a\n")
@example("latest")
def test_an_experiment_id_that_is_accepted_is_the_name_of_a_file(experiment_id: str) -> None:
    try:
        check_id(experiment_id)
    except ExperimentError:
        return
    assert re.fullmatch(r"(?!latest$)[A-Za-z0-9][A-Za-z0-9._-]*", experiment_id)
    assert Path(experiment_id).name == experiment_id


@pytest.mark.parametrize("stacks", [("old", "new"), ("a", "b", "c")])
def test_every_trial_once_a_stack_one_right_after_the_other(stacks: tuple[str, ...]) -> None:
    scenario = read(QUICK)
    plain, listed = trials(scenario), trials(scenario, stacks)
    number = len(stacks)
    assert [trial["index"] for trial in listed] == list(range(1, number * len(plain) + 1))
    assert {trial["total"] for trial in listed} == {number * len(plain)}
    assert len({trial["id"] for trial in listed}) == len(listed)
    for place, trial in enumerate(plain):
        own = listed[number * place : number * (place + 1)]
        assert sorted(each["stack"] for each in own) == sorted(stacks)
        for each in own:
            assert each["id"] == f"{trial['id'][:4]}{each['stack']}-{trial['id'][4:]}"
            assert {**each, **{key: trial[key] for key in ("id", "index", "total")}} == {
                **trial,
                "stack": each["stack"],
            }
    # Each goes first as often as the others, in each repeat and over all of them.
    for repeat in (1, 2, 3):
        first = Counter(trial["stack"] for trial in listed[::number] if trial["repeat"] == repeat)
        assert first == dict.fromkeys(stacks, 12 // number)


def test_of_a_single_cell_another_stack_goes_first_in_each_repeat(scenario: dict[str, Any]) -> None:
    scenario |= {"workloads": [{"window_mb": 8}], "methods": ["vcsp"], "repeats": 4}
    assert [trial["stack"] for trial in trials(load(scenario), ("old", "new"))[::2]] == ["old", "new", "old", "new"]


def test_trials_without_stacks_say_nothing_of_them() -> None:
    assert not any("stack" in trial for trial in trials(read(QUICK)))
