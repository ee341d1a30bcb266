# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Settings, not names, decide which methods are the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import experiment_factory as factory
import pytest

from ansible_collections.vcsp.testbed.analysis.data.roles import PAPER, roles
from ansible_collections.vcsp.testbed.analysis.presentation.wording import contradictions
from ansible_collections.vcsp.testbed.analysis.summary import Summary, summarise
from ansible_collections.vcsp.testbed.plugins.module_utils._method import Method
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.schema import known_methods

FOUR = tuple(factory.METHODS)


def _summary(tmp_path: Path, changes: dict[str, dict[str, Any]], names: tuple[str, ...] = FOUR) -> Summary:
    """Summarise an experiment with other settings in some methods; vcsp halves downtime, which the paper denies."""
    of = factory.experiment(names, repeats=2)
    records = []
    for name in names:
        for repeat in (1, 2):
            values = {"downtime_ms": (50 if "vcsp" in name else 100) + repeat, "total_migration_time_s": 1.0 + repeat}
            records.append(factory.record(of, name, repeat=repeat, measurements=values))
    for method in (*of["scenario"]["methods"], *(record["trial"]["method"] for record in records)):
        method |= changes.get(method["name"], {})
    return summarise(factory.write(tmp_path, of, records))


def test_the_methods_of_the_paper_are_those_that_the_testbed_knows_by_these_names() -> None:
    known = known_methods()
    assert {name: Method.of(known[name]) for name in PAPER} == PAPER
    assert roles([{"name": name, **known[name]} for name in PAPER]) == {name: name for name in PAPER}


def test_the_four_methods_are_compared_with_the_paper(tmp_path: Path) -> None:
    summary = _summary(tmp_path, {})
    assert summary.effects
    assert summary.table
    assert [row.paper for row in summary.table.rows] == list(FOUR[1:])
    assert any("vcsp" in line for line in contradictions(summary.table))


@pytest.mark.parametrize(
    "settings",
    [{"vcpu_quota_percent": 35}, {"prefetch_pages": 4}, {"transfer": "push"}, {"vcpu_quota_until": "working-set"}],
)
def test_a_method_of_other_settings_is_not_the_papers(tmp_path: Path, settings: dict[str, Any]) -> None:
    summary = _summary(tmp_path, {"vcsp": settings})
    assert summary.table
    assert [row.paper for row in summary.table.rows] == ["post-copy-prefetching", None, "vcsp-prefetching"]
    assert not any(" vcsp:" in line for line in contradictions(summary.table))
    assert summary.effects == ()


def test_the_papers_settings_count_under_any_name() -> None:
    methods = [{**factory.method(name), "name": f"m{number}"} for number, name in enumerate(FOUR)]
    assert roles(methods) == dict(zip(FOUR, ("m0", "m1", "m2", "m3"), strict=True))
    assert "vcsp" not in roles([*methods, {**factory.method("vcsp"), "name": "m4", "vcpu_period_us": 5000}])
    assert roles([*methods, factory.method("vcsp")])["vcsp"] == "vcsp"
    assert "post-copy" not in roles([{**factory.method("post-copy"), "name": "other", "kind": "pre-copy"}])
    assert "post-copy" in roles([{**factory.method("post-copy"), "kind": "post-copy"}])


def test_without_plain_post_copy_there_is_no_table(tmp_path: Path) -> None:
    summary = _summary(tmp_path, {"post-copy": {"vcpu_quota_percent": 80}})
    assert summary.failed
    assert summary.notice
    assert "has other settings" in summary.notice


def test_a_plain_baseline_of_other_settings_compares_but_not_with_the_paper(tmp_path: Path) -> None:
    summary = _summary(tmp_path, {name: {"transfer": "push"} for name in FOUR})
    assert summary.table
    assert {row.paper for row in summary.table.rows} == {None}
    assert contradictions(summary.table) == []
