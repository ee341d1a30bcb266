# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What reports say of the guest's rate, and records that cannot say it yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import experiment_factory as factory

from ansible_collections.vcsp.testbed.analysis.presentation.wording import machine
from ansible_collections.vcsp.testbed.analysis.statistics.rates import rate_warnings
from ansible_collections.vcsp.testbed.analysis.summary import summarise
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import read_experiment, scenario_hash

CAUTION = "the guest ran at 96.0 MB/s before the migration instead of 85.0"


def test_cautions_of_valid_trials_are_warned_of_and_the_rates_told(tmp_path: Path) -> None:
    of = factory.experiment(("post-copy", "vcsp"), repeats=1)
    records = [factory.sound(of, name)[0] for name in ("post-copy", "vcsp")]
    for record in records:
        record["calibration"] = factory.calibration(300.0)
    records[0]["cautions"] = [CAUTION]
    found = read_experiment(factory.write(tmp_path, of, records))
    (warning,) = rate_warnings(found.records)
    assert warning.problem == f"{records[0]['trial']['id']}: {CAUTION}"
    assert "guest calibrated to 300 MB/s" in machine(found)
    assert warning in summarise(tmp_path).warnings


def test_version_1_is_read_and_what_it_could_not_say_is_null(tmp_path: Path) -> None:
    link = {"rate_mbit": 1000, "delay_us": 100, "queue": "fair", "congestion_control": "cubic", "proof": None}
    directory = factory.full(tmp_path, ("post-copy", "vcsp"), (8, 64), repeats=1)
    for path in (directory / "experiment.json", *directory.glob("trials/*/record.json")):
        path.write_text(json.dumps(older(json.loads(path.read_text()), link)))
    found = read_experiment(directory)
    assert not found.skipped
    assert len(found.records) == 4
    for record in found.records:
        assert record.data["link"] == link, "what it can say is kept"
        assert record.data["calibration"] is None
        assert record.data["cautions"] == []
        assert record.data["trial"]["workload"] in found.scenario["workloads"]
        assert record.data["trial"]["workload"]["writes_percent"] == 100
        assert record.data["trial"]["guest"] == found.scenario["guest"]
        assert found.scenario["guest"]["system"] == "debian"
        assert found.scenario["guest"]["accelerator"] == "auto"
        assert found.scenario["guest"]["idle_mb"] == 0
    assert {cell.workload for cell in found.planned} == {"8 MB sequential work 4", "64 MB sequential work 4"}


def test_a_record_from_before_idle_memory_had_none(tmp_path: Path) -> None:
    directory = factory.full(tmp_path, ("post-copy", "vcsp"), (8,), repeats=1)
    one = next(directory.glob("trials/*/record.json"))
    record = json.loads(one.read_text())
    del record["trial"]["guest"]["idle_mb"]
    one.write_text(json.dumps(record))
    found = read_experiment(directory)
    assert not found.skipped
    assert [each.data["trial"]["guest"] for each in found.records] == [found.scenario["guest"]] * 2
    record["trial"]["guest"]["idle_mb"] = 64
    one.write_text(json.dumps(record))
    (skipped,) = read_experiment(directory).skipped
    assert skipped.reason == "its guest differs from the scenario's"


def older(document: dict[str, Any], link: dict[str, Any]) -> dict[str, Any]:
    """The document as version 1 had it."""
    document["schema_version"] = 1
    for key in ("system", "accelerator", "idle_mb"):
        del (document.get("scenario") or document["trial"])["guest"][key]
    if "scenario" in document:
        for workload in document["scenario"]["workloads"]:
            del workload["rate_mb_per_s"], workload["writes_percent"]
        document["scenario_hash"] = scenario_hash(document["scenario"])
    else:
        del document["calibration"], document["window"], document["cautions"]
        del document["trial"]["workload"]["rate_mb_per_s"], document["trial"]["workload"]["writes_percent"]
        document["link"] = link
    return document
