# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments that the migration module refuses before it touches anything."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml

from ansible_collections.vcsp.testbed.plugins.modules import postcopy_migration
from ansible_collections.vcsp.testbed.plugins.modules.postcopy_migration import ARGUMENTS, problems

REQUIRED = {"name": "web1", "source_uri": "qemu+ssh://root@node1/system", "migration_address": "192.0.2.12"}


def params(**changes: Any) -> dict[str, Any]:
    return {**{name: option.get("default") for name, option in ARGUMENTS.items()}, **REQUIRED, **changes}


def test_the_defaults_are_fine() -> None:
    assert problems(params()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vcpu_quota_percent", 10),
        ("vcpu_quota_percent", 100),
        ("vcpu_period_us", 1000),
        ("vcpu_period_us", 1_000_000),
        ("prefetch_pages", 1),
        ("window_mb", 1),
        ("baseline_s", 0),
        ("cpu_latency_us", 0),
        ("observation_s", 0.1),
    ],
)
def test_the_limits_themselves_are_fine(name: str, value: float) -> None:
    assert problems(params(**{name: value})) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vcpu_quota_percent", 0),
        ("vcpu_quota_percent", -5),
        ("vcpu_quota_percent", 101),
        ("vcpu_period_us", 999),
        ("vcpu_period_us", 1_000_001),
        ("prefetch_pages", 0),
        ("prefetch_pages", -10),
        ("window_mb", 0),
        ("observation_s", -1.0),
        ("observation_s", 0),
        ("observation_s", math.nan),
        ("timeout_s", -0.5),
        ("stall_timeout_s", 0),
        ("baseline_s", -0.1),
        ("baseline_s", math.nan),
        ("cpu_latency_us", -1),
    ],
)
def test_what_makes_no_sense_is_refused_by_name_and_value(name: str, value: float) -> None:
    (problem,) = problems(params(**{name: value}))
    assert problem.startswith(f"{name}: ")
    assert str(value) in problem


def test_all_problems_are_told_at_once() -> None:
    assert len(problems(params(vcpu_quota_percent=0, prefetch_pages=0, timeout_s=-1, baseline_s=-1))) == 4
    assert len(problems(params(name="", source_uri="esx://x", destination_uri="x", migration_address="::"))) == 4
    assert len(problems(params(migration_address="node2", prefetch_pages=2, prefetch_max_pages=9))) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "../../etc/passwd"),
        ("name", ""),
        ("source_uri", "test:///default"),
        ("source_uri", "qemu+ssh://root@node1/system?command=/tmp/evil"),
        ("source_uri", "qemu:///system"),
        ("destination_uri", "qemu+ext:///system?command=/tmp/evil"),
        ("migration_address", "0.0.0.0"),
        ("migration_address", "::"),
        ("migration_address", "node2"),
        ("migration_address", "192.0.2.12:0,ipv4=on"),
        ("migration_address", "[2001:db8::12]"),
    ],
)
def test_what_names_no_guest_or_host_is_refused(name: str, value: str) -> None:
    (problem,) = problems(params(**{name: value}))
    assert problem.startswith(f"{name}: ")
    assert value in problem


@pytest.mark.parametrize("name", ["x'; touch pwned; '", "<web>&1", "a\nb", "Gäst ☃"])
def test_a_guest_of_any_name_may_be_migrated(name: str) -> None:
    assert problems(params(name=name)) == []


def test_the_documentation_is_that_of_the_arguments() -> None:
    options = yaml.safe_load(postcopy_migration.DOCUMENTATION)["options"]
    assert options.keys() == ARGUMENTS.keys()
    for name, option in ARGUMENTS.items():
        documented = {key: value for key, value in options[name].items() if key != "description"}
        assert documented == option, name


def test_a_quota_that_the_kernel_cannot_grant_is_refused_unless_the_period_is_longer() -> None:
    assert "vcpu_period_us" in problems(params(vcpu_quota_percent=1))[0]
    assert problems(params(vcpu_quota_percent=1, vcpu_period_us=100_000)) == []
