# SPDX-License-Identifier: GPL-3.0-or-later
"""From a scenario to its trials."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ansible_collections.vcsp.testbed.plugins.plugin_utils.scenario import load, read
from ansible_collections.vcsp.testbed.plugins.plugin_utils.trials import default_observation_s, trials

QUICK = Path(__file__).resolve().parents[4] / "scenarios" / "quick.yml"


def test_every_cell_once_a_repeat() -> None:
    listed = trials(read(QUICK))
    assert [trial["index"] for trial in listed] == list(range(1, 49))
    assert {trial["total"] for trial in listed} == {48}
    assert len({trial["id"] for trial in listed}) == 48
    # The repeats follow each other, each with all of its sixteen cells.
    assert [trial["repeat"] for trial in listed] == [1] * 16 + [2] * 16 + [3] * 16
    cells = Counter((trial["workload"]["window_mb"], trial["method"]["name"]) for trial in listed)
    assert set(cells.values()) == {3}
    assert len(cells) == 16


def test_order_comes_from_seed_and_repeat() -> None:
    scenario = read(QUICK)
    listed = trials(scenario)
    assert trials(scenario) == listed
    assert [trial["id"] for trial in trials({**scenario, "seed": 2})] != [trial["id"] for trial in listed]
    orders = [[trial["id"][4:] for trial in listed if trial["repeat"] == repeat] for repeat in (1, 2, 3)]
    assert orders[0] != orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2])
    # A repeat keeps its order when repeats are added later.
    assert [trial["id"] for trial in trials({**scenario, "repeats": 4})][:48] == [trial["id"] for trial in listed]


def test_a_trial(scenario: dict[str, Any]) -> None:
    method = {"name": "gentle", "vcpu_quota_percent": 35, "prefetch_pages": 7}
    scenario |= {"workloads": [{"window_mb": 64}], "methods": [method]}
    assert trials(load(scenario)) == [
        {
            "id": "r01-0064mb-sequential-gentle",
            "index": 1,
            "total": 1,
            "repeat": 1,
            "workload": {"window_mb": 64, "pattern": "sequential", "work_per_page": 20},
            "method": {**load(scenario)["methods"][0], **method},
            "guest": {"memory_mb": 512, "vcpus": 1, "thp": "madvise"},
            "link": {"rate_mbit": 1000},
            "baseline_s": 5,
            "observation_s": 5.72,
        }
    ]


def test_ids_tell_workloads_apart(scenario: dict[str, Any]) -> None:
    scenario |= {
        "workloads": [
            {"window_mb": 64},
            {"window_mb": 64, "work_per_page": 8},
            {"window_mb": 64, "pattern": "random"},
            {"window_mb": 8},
        ],
        "methods": ["vcsp"],
    }
    assert {trial["id"] for trial in trials(load(scenario))} == {
        "r01-0064mb-sequential-vcsp-w20",
        "r01-0064mb-sequential-vcsp-w8",
        "r01-0064mb-random-vcsp",
        "r01-0008mb-sequential-vcsp",
    }


def test_observation_grows_with_the_window_unless_told(scenario: dict[str, Any]) -> None:
    assert [default_observation_s(window_mb) for window_mb in (8, 64, 512)] == [2.64, 5.72, 30.36]
    told = trials(load({**scenario, "observation_s": 10}))
    assert {trial["observation_s"] for trial in told} == {10}
