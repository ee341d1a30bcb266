# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The table of settings, and everything that is derived from it."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.doc_fragments import method as fragment
from ansible_collections.vcsp.testbed.plugins.module_utils import _method
from ansible_collections.vcsp.testbed.plugins.module_utils._method import Method, _setting
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records import schema as records
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario import gate, schema, words


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vcpu_quota_percent", 10), ("vcpu_quota_percent", 100), ("vcpu_period_us", 2000),
        ("vcpu_period_us", 1_000_000), ("prefetch_pages", 1), ("max_postcopy_bandwidth_mb_per_s", 0),
    ],
)  # fmt: skip
def test_values_at_the_limits_are_accepted(name: str, value: float) -> None:
    assert list(Method(**{name: value}).problems()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vcpu_quota_percent", 0), ("vcpu_quota_percent", -5), ("vcpu_quota_percent", 101), ("vcpu_period_us", 999),
        ("vcpu_period_us", 1_000_001), ("prefetch_pages", 0), ("prefetch_pages", -10), ("prefetch_policy", "psychic"),
        ("transfer", "pull"), ("max_postcopy_bandwidth_mb_per_s", math.nan), ("max_postcopy_bandwidth_mb_per_s", -1),
    ],
)  # fmt: skip
def test_an_invalid_value_is_refused_with_its_setting(name: str, value: Any) -> None:
    (problem,) = Method(**{name: value}).problems()
    assert problem.startswith(f"{name}: is {value}; ")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"vcpu_quota_percent": 5}, "use vcpu_period_us of at least 20000"),
        ({"postcopy_preempt": False}, "transfer: demand cannot do without it"),
        ({"tls": True, "prefetch_pages": 2}, "TLS hides page requests"),
        ({"tls": True, "prefetch_policy": "readahead"}, "TLS hides page requests"),
        ({"prefetch_pages": 2, "prefetch_max_pages": 9}, "prefetch_max_pages is for policies that grow"),
        ({"prefetch_policy": "readahead", "prefetch_pages": 9, "prefetch_max_pages": 2}, "raise the maximum"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], expected: str) -> None:
    (problem,) = Method(**settings).problems()
    assert expected in problem


@pytest.mark.parametrize(
    ("settings", "prefetches"),
    [
        ({}, False),
        ({"prefetch_pages": 2}, True),
        ({"prefetch_policy": "around"}, False),
        ({"prefetch_policy": "readahead"}, True),  # from one page, it grows
        ({"prefetch_policy": "readahead", "prefetch_max_pages": 1}, False),
    ],
)
def test_whether_a_method_prefetches(settings: dict[str, Any], prefetches: bool) -> None:
    assert Method(**settings).prefetches is prefetches


def test_omitted_settings_get_their_defaults() -> None:
    assert Method.of({"name": "theirs", "vcpu_period_us": None}) == Method()


@pytest.fixture
def one_more(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A table with one more setting."""

    @dataclass(frozen=True)
    class Longer(Method):
        downtime_limit_ms: int = _setting(300, "How long the guest may stand still.", unit="ms", allowed=(1, 9000))

    def clear() -> None:
        for cached in (schema.scenario_schema, schema._data, schema.validator, records._load, records._acceptor,
                       records._validator):  # fmt: skip
            cached.cache_clear()

    monkeypatch.setattr(_method, "Method", Longer)
    clear()
    yield
    monkeypatch.undo()
    clear()
    importlib.reload(fragment)


def test_a_new_setting_needs_only_an_entry_in_the_table(one_more: None) -> None:
    new = {"type": "int", "default": 300}
    assert _method.argument_spec()["downtime_limit_ms"] == new
    importlib.reload(fragment)
    suboptions = json.loads(fragment.ModuleDocFragment.DOCUMENTATION)["options"]["method"]["suboptions"]
    described = {"description": ["How long the guest may stand still.", "Unit: ms."], **new}
    assert suboptions["downtime_limit_ms"] == described
    longer = {"name": "longer", "downtime_limit_ms": 500}
    scenario = {"name": "mine", "workloads": [{"window_mb": 8}], "methods": ["vcsp", longer]}
    assert [method["downtime_limit_ms"] for method in gate.load(scenario)["methods"]] == [300, 500]
    with pytest.raises(
        gate.ScenarioError, match=r"methods\[1\].downtime_limit_ms: is 0; must be a whole number from 1"
    ):
        gate.load({**scenario, "methods": ["vcsp", {**longer, "downtime_limit_ms": 0}]})
    assert records._load("settings", 2)["$defs"]["method"]["properties"]["downtime_limit_ms"]["maximum"] == 9000


def test_every_setting_is_described() -> None:
    assert all(words.expected(part) for part in _method.json_schema().values())
