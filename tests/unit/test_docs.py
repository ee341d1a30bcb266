# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples and tables of the documentation are true."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import scenario_hash
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.schema import experiment_problems, record_problems
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.gate import ScenarioError, load
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.schema import known_methods, scenario_schema
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.trials import trials

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SCHEMA = scenario_schema()


def examples(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / document).read_text(), re.MULTILINE | re.DOTALL)


def table(document: str) -> list[list[str]]:
    """Return the rows of the first table, without its head."""
    lines = [line for line in (DOCS / document).read_text().splitlines() if line.startswith("|")]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("text", examples("scenario.md", "yaml"))
def test_scenarios_load(text: str) -> None:
    assert load(text)


def test_the_full_example_says_all_that_can_be_said() -> None:
    text = examples("scenario.md", "yaml")[1]
    scenario, given = load(text), yaml.safe_load(text)
    assert scenario.keys() == given.keys()
    for key in ("guest", "link"):
        assert scenario[key] == given[key]
    assert scenario["workloads"] == given["workloads"]
    assert scenario["methods"][2] == given["methods"][2]


def places(schema: dict[str, Any], prefix: str = "") -> dict[str, dict[str, Any]]:
    found = {}
    for key, part in schema["properties"].items():
        if part.get("type") == "object":
            found |= places(part, f"{prefix}{key}.")
        else:
            found[prefix + key] = part
            if "properties" in part.get("items", {}):
                found |= places(part["items"], f"{prefix}{key}[].")
    return found


def test_table_of_keys_is_the_schema() -> None:
    told = {key: (default, allowed) for key, default, allowed, _text in table("scenario.md")}
    schema = places(SCHEMA)
    assert told.keys() == schema.keys()
    for key, part in schema.items():
        default, allowed = told[key]
        assert yaml.safe_load(default) == part.get("default", "required"), key
        if "enum" in part:
            assert allowed == ", ".join(part["enum"]), key
        elif "maximum" in part:
            assert allowed == f"{part['minimum']} to {part['maximum']}", key


def test_errors_shown_are_those_that_come() -> None:
    bad = {
        "name": "mine",
        "workloads": [{"window_mb": 8}, {"window_mb": 9, "windw_mb": 1}],
        "methods": [{"name": "a", "vcpu_quota_percent": 101}],
    }
    with pytest.raises(ScenarioError) as caught:
        load(bad, "mine.yml")
    for problem in caught.value.problems:
        assert f"\n    {problem}\n" in (DOCS / "scenario.md").read_text()


def test_table_of_methods_is_the_data() -> None:
    settings = ["vcpu_quota_percent", "vcpu_period_us", "prefetch_pages", "transfer"]
    known = [[name, *(str(method[key]) for key in settings)] for name, method in known_methods().items()]
    assert table("methods.md") == known


def test_methods_load() -> None:
    for text in examples("methods.md", "yaml"):
        assert load({"name": "a", "workloads": [{"window_mb": 8}], **yaml.safe_load(text)})


def test_experiment_and_record() -> None:
    experiment_text, record_text = examples("record.md", "json")
    experiment, record = json.loads(experiment_text), json.loads(record_text)
    assert experiment["scenario_hash"] == scenario_hash(experiment["scenario"])
    assert experiment_problems(experiment) == []
    assert load(experiment["scenario"]) == experiment["scenario"]
    assert record_problems(record) == []
    assert record["trial"] == trials(experiment["scenario"])[0]


def test_tables_over_time() -> None:
    telemetry, requests = (list(csv.reader(io.StringIO(text))) for text in examples("record.md", "csv"))
    assert telemetry[0] == ["time_s", "host", "pages", "stalls", "stall_ms"]
    assert requests[0] == ["time_s", "block", "start", "asked", "sent_start", "sent"]
    assert {len(row) for row in telemetry} == {5}
    assert {len(row) for row in requests} == {6}


def test_links_lead_somewhere() -> None:
    for document in (*DOCS.glob("*.md"), ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
