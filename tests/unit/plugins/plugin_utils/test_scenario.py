# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The gate of scenarios."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils._method import Method
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.gate import (
    ScenarioError,
    known_methods,
    load,
    read,
    resolve,
)

ROOT = Path(__file__).resolve().parents[4]
# Ten to the power of twenty values in twenty lines.
BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 20))
# Those that scenarios rely on, and those of settings that are added later.
METHOD_DEFAULTS: dict[str, Any] = {
    **asdict(Method()),
    "vcpu_quota_percent": 100,
    "vcpu_period_us": 10000,
    "vcpu_quota_until": "completed",
    "prefetch_pages": 1,
    "prefetch_policy": "fixed",
    "prefetch_max_pages": None,
    "transfer": "demand",
    "postcopy_preempt": None,
    "max_postcopy_bandwidth_mb_per_s": 0,
    "tls": False,
}
WORKLOAD_DEFAULTS: dict[str, Any] = {
    "window_mb": None,
    "pattern": "sequential",
    "rate_mb_per_s": None,
    "work_per_page": None,
    "writes_percent": 100,
}
REGRESSION_DEFAULTS = {
    "downtime": None, "total_migration_time": 10, "page_requests": 10, "throughput": 10, "stall_loss": 25,
    "blackout": 50, "sent_kb": 5, "steady_rate": 10,
}  # fmt: skip


def good() -> dict[str, Any]:
    return {"name": "mine", "workloads": [{"window_mb": 8}], "methods": ["vcsp"]}


def problems(document: Any) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        load(document, "mine.yml")
    assert all(problem.startswith("mine.yml: ") for problem in caught.value.problems)
    return [problem.removeprefix("mine.yml: ") for problem in caught.value.problems]


def test_defaults() -> None:
    assert load(good()) == {
        "name": "mine",
        "repeats": 3,
        "saved_states": 3,
        "seed": 1,
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
        "observation_s": None,
        "workloads": [WORKLOAD_DEFAULTS | {"window_mb": 8}],
        "regression": REGRESSION_DEFAULTS,
        "methods": [{**METHOD_DEFAULTS, "name": "vcsp", "vcpu_quota_percent": 50}],
    }


def test_what_decides_a_night_is_named_metric_by_metric() -> None:
    given = load(good() | {"regression": {"throughput": 20, "blackout": None}})["regression"]
    assert given == REGRESSION_DEFAULTS | {"throughput": 20, "blackout": None}
    assert problems(good() | {"regression": {"throughput": 0, "speed": 5}})


def test_the_papers_four_methods() -> None:
    methods = {name: Method.of(known) for name, known in known_methods().items()}
    settings = {name: (method.vcpu_quota_percent, method.prefetch_pages) for name, method in methods.items()}
    assert settings == {
        "post-copy": (100, 1),
        "post-copy-prefetching": (100, 10),
        "vcsp": (50, 1),
        "vcsp-prefetching": (50, 10),
    }
    assert {method.transfer for method in methods.values()} == {"demand"}


def test_method_of_ones_own_and_override() -> None:
    methods = load(
        {**good(), "methods": [{"name": "gentle", "prefetch_pages": 7}, {"name": "vcsp", "transfer": "push"}]}
    )
    assert methods["methods"] == [
        {**METHOD_DEFAULTS, "name": "gentle", "prefetch_pages": 7},
        {**METHOD_DEFAULTS, "name": "vcsp", "vcpu_quota_percent": 50, "transfer": "push"},
    ]


def test_prefetching_with_tls_is_refused_with_what_to_do() -> None:
    encrypted = [{"name": "vcsp", "tls": True}, {"name": "vcsp-prefetching", "tls": True}, {"name": "a", "tls": "on"}]
    assert problems({**good(), "methods": encrypted}) == [
        'methods[2].tls: is "on"; must be true or false',
        "methods[1].tls: is true, but TLS hides page requests from the eBPF program that lengthens them; use "
        "prefetch_pages: 1 with prefetch_policy: fixed, or leave tls out",
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "scenarios").glob("*.yml")), ids=lambda path: path.stem)
def test_shipped_scenarios(path: Path) -> None:
    assert read(path)["name"] == path.stem


def test_shipped_scenarios_are_the_agreed_ones() -> None:
    names = list(known_methods())
    smoke, quick, paper = (read(ROOT / "scenarios" / f"{name}.yml") for name in ("smoke", "quick", "paper"))
    assert (smoke["repeats"], [method["name"] for method in smoke["methods"]]) == (1, [names[0], names[3]])
    assert [workload["window_mb"] for workload in smoke["workloads"]] == [8]
    assert (quick["repeats"], quick["guest"]["memory_mb"]) == (3, 512)
    assert [workload["window_mb"] for workload in quick["workloads"]] == [8, 16, 32]
    assert (paper["repeats"], paper["guest"]["memory_mb"], paper["link"]["rate_mbit"]) == (5, 2048, 1000)
    assert [workload["window_mb"] for workload in paper["workloads"]] == [8, 16, 32, 64, 128, 256, 512]
    for scenario in (quick, paper):
        assert [method["name"] for method in scenario["methods"]] == names


BAD = {
    "unknown key": ({"colour": 1}, "colour: unknown key; known: name, repeats"),
    "misspelt key": (
        {"workloads": [{"window_mb": 8}, {"windw_mb": 8}]},
        "workloads[1].windw_mb: unknown key; did you mean window_mb?",
    ),
    "quota 0": ({"methods": [{"name": "a", "vcpu_quota_percent": 0}]}, "methods[0].vcpu_quota_percent: is 0; must be"),
    "quota -5": ({"methods": [{"name": "a", "vcpu_quota_percent": -5}]}, "methods[0].vcpu_quota_percent: is -5; must"),
    "quota 101": ({"methods": [{"name": "a", "vcpu_quota_percent": 101}]}, "whole number from 1 to 100"),
    "quota half": ({"methods": [{"name": "a", "vcpu_quota_percent": "half"}]}, 'is "half"; must be a whole number'),
    "quota that Linux cannot grant": (
        {"methods": [{"name": "a", "vcpu_quota_percent": 5}]},
        "methods[0].vcpu_quota_percent: 5 % of a period of 10000 us",
    ),
    "policy": ({"methods": [{"name": "a", "prefetch_policy": "psychic"}]}, 'methods[0].prefetch_policy: is "psychic"'),
    "maximum without growth": (
        {"methods": [{"name": "a", "prefetch_max_pages": 9}]},
        "methods[0].prefetch_max_pages is for policies that grow",
    ),
    "more than the maximum": (
        {"methods": [{"name": "a", "prefetch_policy": "readahead", "prefetch_pages": 9, "prefetch_max_pages": 8}]},
        "methods[0].prefetch_pages: 9 is more than prefetch_max_pages: 8",
    ),
    "demand without preempt": (
        {"methods": [{"name": "a", "postcopy_preempt": False}]},
        "methods[0].postcopy_preempt: is false, but transfer: demand cannot do without it",
    ),
    "preempt 1": (
        {"methods": [{"name": "a", "transfer": "push", "postcopy_preempt": 1}]},
        "methods[0].postcopy_preempt: is 1; must be true or false or null",
    ),
    "bandwidth": (
        {"methods": [{"name": "a", "max_postcopy_bandwidth_mb_per_s": -1}]},
        "methods[0].max_postcopy_bandwidth_mb_per_s: is -1; must be a number",
    ),
    "prefetch 0": ({"methods": [{"name": "a", "prefetch_pages": 0}]}, "methods[0].prefetch_pages: is 0; must be"),
    "prefetch 1.5": ({"methods": [{"name": "a", "prefetch_pages": 1.5}]}, "methods[0].prefetch_pages: is 1.5; must be"),
    "prefetch larger than the guest": (
        {"methods": [{"name": "a", "prefetch_pages": 131073}]},
        "methods[0].prefetch_pages: is 131073, but a guest of 512 MB has 131072 pages",
    ),
    "workload larger than the guest": (
        {"workloads": [{"window_mb": 353}]},
        "workloads[0].window_mb: is 353, but a guest of 512 MB has 352 MB",
    ),
    "repeat of 0": ({"repeats": 0}, "repeats: is 0; must be a whole number from 1"),
    "boolean as number": ({"repeats": True}, "repeats: is true; must be a whole number"),
    "empty value": ({"repeats": None}, "repeats: is empty; must be"),
    "not a number": ({"baseline_s": math.nan}, "baseline_s: is nan; must be a number from 1 to 120"),
    "infinity": ({"observation_s": math.inf}, "observation_s: is inf; must be a number from 1 to 3600 or null"),
    "huge": ({"seed": 10**5000}, "text: Exceeds the limit"),
    "unknown method": ({"methods": ["vcps"]}, "methods[0]: no method is called vcps; did you mean vcsp? (known: post-"),
    "no method's name": ({"methods": ["A B"]}, 'methods[0]: is "A B"; must be a name of at most 40'),
    "line feed in a name": ({"name": "mine\n"}, "name: is"),
    "long name": ({"name": "a" * 41}, "name: is"),
    "path as name": ({"name": "../mine"}, "name: is"),
    "same method twice": (
        {"methods": ["vcsp", {"name": "vcsp", "transfer": "push"}]},
        "methods[1]: the same as methods[0]",
    ),
    "same workload twice": (
        {"workloads": [{"window_mb": 8}, {"window_mb": 8, "writes_percent": 100}]},
        "workloads[1]: the same as workloads[0]",
    ),
    "rate and work": (
        {"workloads": [{"window_mb": 8, "rate_mb_per_s": 30, "work_per_page": 20}]},
        "workloads[0]: has both rate_mb_per_s and work_per_page",
    ),
    "no workloads": ({"workloads": []}, "workloads: is an empty list; must be a list with at least one entry"),
    "workloads as mapping": ({"workloads": {"window_mb": 8}}, "workloads: is a mapping; must be a list"),
    "guest as list": (
        {"guest": [1]},
        "guest: is a list; must be a mapping with the keys system, accelerator, memory_mb, idle_mb, vcpus, thp",
    ),
    "tiny guest": ({"guest": {"memory_mb": 15}}, "guest.memory_mb: is 15; must be"),
    "small guest": ({"guest": {"memory_mb": 255}}, "guest.memory_mb: is 255, but a debian guest needs 256"),
    "large bare guest": (
        {"guest": {"system": "bare", "memory_mb": 3073}},
        "guest.memory_mb: is 3073, but a bare guest has at most 3072",
    ),
    "many processors": ({"guest": {"system": "bare", "vcpus": 17}}, "guest.vcpus: is 17; must be"),
    "bare guest that is full": (
        {"guest": {"system": "bare", "memory_mb": 64}, "workloads": [{"window_mb": 63}]},
        "workloads[0].window_mb: is 63, but a guest of 64 MB has 60 MB beside the 4 MB of its system",
    ),
    "negative idle memory": ({"guest": {"idle_mb": -1}}, "guest.idle_mb: is -1; must be a whole number from 0"),
    "window that idle memory leaves no room for": (
        {"guest": {"idle_mb": 345}},
        "workloads[0].window_mb: is 8, but a guest of 512 MB has 7 MB beside the 160 MB of its system and 345 idle "
        "ones; use a smaller window or guest.idle_mb, or guest.memory_mb of at least 513",
    ),
    "idle memory larger than the guest": (
        {"guest": {"idle_mb": 352}},
        "guest.idle_mb: is 352, but a guest of 512 MB also holds the 160 MB of its system and a window; "
        "use less, or guest.memory_mb of at least 513",
    ),
    "idle memory larger than a bare guest": (
        {"guest": {"system": "bare", "memory_mb": 64, "idle_mb": 1000}},
        "guest.idle_mb: is 1000, but a guest of 64 MB also holds the 4 MB of its system and a window; "
        "use less, or guest.memory_mb of at least 1005",
    ),
    "bare guest with THP": ({"guest": {"system": "bare", "thp": "never"}}, "guest.thp: a bare guest has no"),
    "unknown system": ({"guest": {"system": "windows"}}, 'guest.system: is "windows"; must be one of debian, bare'),
    "unknown accelerator": (
        {"guest": {"accelerator": "xen"}},
        'guest.accelerator: is "xen"; must be one of auto, kvm, tcg',
    ),
    "unknown THP": ({"guest": {"thp": "often"}}, 'guest.thp: is "often"; must be one of always, madvise, never'),
}


@pytest.mark.parametrize(("changes", "expected"), BAD.values(), ids=BAD.keys())
def test_bad_scenario(changes: dict[str, Any], expected: str) -> None:
    found = problems({**good(), **changes})
    assert len(found) == (2 if "missing; give" in found[-1] else 1), found  # a misspelt key is missing, too
    assert expected in found[0]


def test_missing_keys() -> None:
    assert [problem.partition(":")[0] for problem in problems({})] == ["name", "workloads", "methods"]


def test_all_problems_at_once() -> None:
    found = problems({**good(), "repeats": 0, "methods": ["vcps", "vcsp"], "workloads": [{"window_mb": 9999}], "x": 1})
    assert {problem.partition(":")[0] for problem in found} == {"repeats", "methods[0]", "workloads[0].window_mb", "x"}


@pytest.mark.parametrize("document", ["", "- a\n", "text", "12", [1], None, 5])
def test_not_a_mapping(document: Any) -> None:
    assert re.match("top level: is .*; must be a mapping", problems(document)[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\nrepeats: 1\nrepeats: 2\n", "line 3, column 1: the key 'repeats' stands twice"),
        ("name: a\nguest: {vcpus: 1, vcpus: 2}\n", "line 2, column 19: the key 'vcpus' stands twice"),
        ("name: [\n", "line 2, column 1: "),
        ("name: a\n---\nname: b\n", "expected a single document"),
        ("name: !!python/object:os.system x\n", "line 1, column 7: could not determine a constructor"),
        ("repeats: " + "9" * 5000, "text: Exceeds the limit"),
        ("a: " + "[" * 100000, "text: maximum recursion depth exceeded"),
        (BOMB, "line 1, column 1: with its aliases it holds more than 10000 values"),
        ("a: &a [*a]", "line 1, column 1: with its aliases it holds more than 10000 values"),
    ],
)
def test_bad_yaml(text: str, expected: str) -> None:
    (problem,) = problems(text)
    assert expected in problem


def test_yaml_text_and_mapping_are_alike() -> None:
    assert load(yaml.safe_dump(good())) == load(good())


def test_whole_seconds_are_the_same_scenario() -> None:
    assert load({**good(), "baseline_s": 5.0}) == load({**good(), "baseline_s": 5})


def test_input_is_left_alone() -> None:
    document = good()
    before = copy.deepcopy(document)
    load(document)
    assert document == before


# Every scenario, and scenarios with one thing wrong


NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,39}", fullmatch=True)
METHODS = st.one_of(
    st.sampled_from(sorted(known_methods())),
    st.fixed_dictionaries(
        {"name": NAMES},
        optional={
            "vcpu_quota_percent": st.integers(1, 100),
            "vcpu_period_us": st.integers(100000, 1000000),
            "prefetch_pages": st.integers(1, 256 * 256),
            "transfer": st.sampled_from(["demand", "push"]),
            "vcpu_quota_until": st.sampled_from(["working-set", "completed"]),
            "prefetch_policy": st.sampled_from(["fixed", "around"]),
            "postcopy_preempt": st.sampled_from([None, True]),
            "max_postcopy_bandwidth_mb_per_s": st.integers(0, 1000000) | st.floats(0, 1000000),
            "tls": st.booleans(),
        },
    )
    .filter(lambda method: method.get("vcpu_quota_percent", 100) >= 10 or "vcpu_period_us" in method)
    .filter(lambda method: method.get("prefetch_pages", 1) == 1 or not method.get("tls")),
)
WORKLOADS = st.fixed_dictionaries(
    {"window_mb": st.integers(1, 96)},
    optional={
        "pattern": st.sampled_from(["sequential", "random", "zipf"]),
        "work_per_page": st.none() | st.integers(1, 1000),
        "rate_mb_per_s": st.none() | st.integers(1, 1000000) | st.floats(1, 1000000),
        "writes_percent": st.integers(0, 100),
    },
).filter(lambda load: load.get("work_per_page") is None or load.get("rate_mb_per_s") is None)
SCENARIOS = st.fixed_dictionaries(
    {
        "name": NAMES,
        "workloads": st.lists(
            WORKLOADS,
            min_size=1,
            max_size=4,
            unique_by=lambda load: workload_key(load),
        ),
        "methods": st.lists(
            METHODS,
            min_size=1,
            max_size=4,
            unique_by=lambda method: method if isinstance(method, str) else method["name"],
        ),
    },
    optional={
        "repeats": st.integers(1, 1000),
        "seed": st.integers(0, 2**32 - 1),
        "guest": st.fixed_dictionaries(
            {},
            optional={
                "accelerator": st.sampled_from(["auto", "kvm", "tcg"]),
                "memory_mb": st.integers(256 + 32, 4096),
                "idle_mb": st.integers(0, 32),
                "vcpus": st.integers(1, 16),
                "thp": st.sampled_from(["always", "madvise", "never"]),
            },
        )
        | st.fixed_dictionaries(
            {"system": st.just("bare")},
            optional={"memory_mb": st.integers(100 + 32, 3072), "idle_mb": st.integers(0, 32)},
        ),
        "link": st.fixed_dictionaries(
            {},
            optional={
                "rate_mbit": st.integers(1, 100000),
                "delay_us": st.integers(0, 10**6),
                "queue": st.sampled_from(["fair", "fifo"]),
                "congestion_control": st.sampled_from(["cubic", "bbr", "dctcp"]),
            },
        ),
        "baseline_s": st.integers(1, 120) | st.floats(1, 120),
        "observation_s": st.none() | st.floats(1, 3600),
    },
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats() | st.text(max_size=5) | st.just("vcsp"),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3) | st.just("name"), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(SCENARIOS)
def test_normalising_twice_is_normalising_once(document: dict[str, Any]) -> None:
    once = load(document)
    assert load(once) == once
    assert load(yaml.safe_dump(once)) == once


def whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def number(value: Any, low: int, high: int) -> bool:
    return type(value) in (int, float) and low <= value <= high


def name(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,39}", value) is not None


def only(value: Any, required: set[str], optional: set[str]) -> bool:
    return isinstance(value, dict) and required <= value.keys() <= required | optional


def admissible(document: Any) -> bool:
    """The rules of docs/scenario.md once more, as directly as Python can say them."""
    if not only(
        document, {"name", "workloads", "methods"}, {"repeats", "seed", "guest", "link", "baseline_s", "observation_s"}
    ):
        return False
    guest, link = document.get("guest", {}), document.get("link", {})
    if not only(guest, set(), {"system", "accelerator", "memory_mb", "idle_mb", "vcpus", "thp"}):
        return False
    if not only(link, set(), {"rate_mbit", "delay_us", "queue", "congestion_control"}):
        return False
    memory_mb, system, idle_mb = guest.get("memory_mb", 512), guest.get("system", "debian"), guest.get("idle_mb", 0)
    if system not in ("debian", "bare"):
        return False
    workloads, methods = document["workloads"], document["methods"]
    if not (isinstance(workloads, list) and isinstance(methods, list) and workloads and methods):
        return False
    return (
        name(document["name"])
        and whole(document.get("repeats", 3), 1, 1000)
        and whole(document.get("seed", 1), 0, 2**32 - 1)
        and (whole(memory_mb, 16, 3072) if system == "bare" else whole(memory_mb, 256, 2**20))
        and whole(idle_mb, 0, 2**20)
        and guest.get("accelerator", "auto") in ("auto", "kvm", "tcg")
        and whole(guest.get("vcpus", 1), 1, 16)
        and guest.get("thp", "madvise") in (("madvise",) if system == "bare" else ("always", "madvise", "never"))
        and whole(link.get("rate_mbit", 1000), 1, 10**6)
        and whole(link.get("delay_us", 100), 0, 10**6)
        and link.get("queue", "fair") in ("fair", "fifo")
        and isinstance(link.get("congestion_control", "cubic"), str)
        and re.fullmatch(r"[a-z][a-z0-9_]{0,14}", link.get("congestion_control", "cubic")) is not None
        and number(document.get("baseline_s", 5), 1, 120)
        and (document.get("observation_s") is None or number(document["observation_s"], 1, 3600))
        and all(
            admissible_workload(workload, memory_mb - (4 if system == "bare" else 160) - idle_mb)
            for workload in workloads
        )
        and all(admissible_method(method, memory_mb) for method in methods)
        and len({workload_key(workload) for workload in workloads}) == len(workloads)
        and len({method if isinstance(method, str) else method["name"] for method in methods}) == len(methods)
    )


def workload_key(workload: dict[str, Any]) -> tuple[Any, ...]:
    return tuple((WORKLOAD_DEFAULTS | workload).values())


def admissible_workload(workload: Any, room_mb: int) -> bool:
    return (
        only(workload, {"window_mb"}, set(WORKLOAD_DEFAULTS) - {"window_mb"})
        and whole(workload["window_mb"], 1, room_mb)
        and workload.get("pattern", "sequential") in ("sequential", "random", "zipf")
        and (workload.get("work_per_page") is None or whole(workload["work_per_page"], 1, 1000))
        and (workload.get("rate_mb_per_s") is None or number(workload["rate_mb_per_s"], 1, 1000000))
        and (workload.get("work_per_page") is None or workload.get("rate_mb_per_s") is None)
        and whole(workload.get("writes_percent", 100), 0, 100)
    )


def admissible_method(method: Any, memory_mb: int) -> bool:
    if isinstance(method, str):
        return method in known_methods()
    if not only(method, {"name"}, set(METHOD_DEFAULTS)) or not name(method["name"]):
        return False
    settings = {**METHOD_DEFAULTS, **known_methods().get(method["name"], {}), **method}
    quota, period_us = settings["vcpu_quota_percent"], settings["vcpu_period_us"]
    return (
        whole(quota, 1, 100)
        and whole(period_us, 1000, 1000000)
        and (quota == 100 or quota * period_us / 100 >= 1000)
        and whole(settings["prefetch_pages"], 1, memory_mb * 256)
        and settings["transfer"] in ("demand", "push")
        and settings["vcpu_quota_until"] in ("working-set", "completed")
        and admissible_policy(settings)
        and (settings["postcopy_preempt"] is None or isinstance(settings["postcopy_preempt"], bool))
        and not (settings["transfer"] == "demand" and settings["postcopy_preempt"] is False)
        and number(settings["max_postcopy_bandwidth_mb_per_s"], 0, 1000000)
        and isinstance(settings["tls"], bool)
        and not (settings["tls"] and prefetches(settings))
    )


def prefetches(settings: dict[str, Any]) -> bool:
    grows = settings["prefetch_policy"] == "readahead" and (settings["prefetch_max_pages"] or 128) > 1
    return bool(settings["prefetch_pages"] > 1 or grows)


def admissible_policy(settings: dict[str, Any]) -> bool:
    largest = settings["prefetch_max_pages"]
    if settings["prefetch_policy"] != "readahead":
        return settings["prefetch_policy"] in ("fixed", "around") and largest is None
    return (largest is None or whole(largest, 1, 268435456)) and settings["prefetch_pages"] <= (largest or 128)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside a document, and a new key in each of its mappings."""
    found = [path]
    if isinstance(value, dict):
        found += [place for key in value for place in places(value[key], (*path, key))] + [(*path, "new")]
    if isinstance(value, list):
        found += [place for index, entry in enumerate(value) for place in places(entry, (*path, index))]
    return found


@given(SCENARIOS, JUNK, st.data())
def test_nothing_else_is_accepted(document: Any, junk: Any, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(places(document)))
    if place:
        inner = document
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = junk
    else:
        document = junk
    if isinstance(document, str):
        return  # is read as YAML text
    try:
        load(document)
    except ScenarioError as error:
        assert not admissible(document), error
    else:
        assert admissible(document)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_a_scenario_or_a_scenario_error(text: str) -> None:
    with pytest.raises(ScenarioError):
        load(text)


# Files


def test_resolve_name_and_path(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    mine = tmp_path / "here" / "mine.yml"
    mine.write_text(yaml.safe_dump(good()))
    assert resolve("mine", [tmp_path / "absent", tmp_path / "here"]) == mine
    assert resolve(str(mine), []) == mine


def test_resolve_unknown(tmp_path: Path) -> None:
    (tmp_path / "quick.yml").touch()
    (tmp_path / "paper.yml").touch()
    with pytest.raises(ScenarioError, match=r"quik: no such scenario; did you mean quick\? \(known: paper, quick\)"):
        resolve("quik", [tmp_path])
    with pytest.raises(ScenarioError, match=r"x/y\.yml: no such scenario file; a path is relative to"):
        resolve("x/y.yml", [tmp_path])
    with pytest.raises(ScenarioError, match="known: none"):
        resolve("quick", [tmp_path / "absent"])


@pytest.mark.parametrize(
    "name", ["x" * 5000, "a\0b", "~nobody-of-that-name/x.yml", "x" * 300 + "/y.yml", "$(id)", "\ud800"]
)
def test_resolve_what_no_file_can_be_called(tmp_path: Path, name: str) -> None:
    with pytest.raises(ScenarioError, match="no such scenario"):
        resolve(name, [tmp_path])


def test_read_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yml").write_bytes(b"name: \xe4\n")
    for path in (tmp_path / "latin.yml", tmp_path / "absent.yml", tmp_path):
        with pytest.raises(ScenarioError, match="cannot be read"):
            read(path)
