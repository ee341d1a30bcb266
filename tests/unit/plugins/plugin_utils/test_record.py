# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From what a trial returned to its record."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.record import build
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.schema import record_problems
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.gate import load
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.trials import trials


@pytest.fixture
def trial(scenario: dict[str, Any]) -> dict[str, Any]:
    return trials(load(scenario))[0]


def packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


def test_good_trial(trial: dict[str, Any], trial_result: Callable[..., dict[str, Any]]) -> None:
    table = b"time_s,host,pages,stalls,stall_ms\n"
    provenance = {"source": {"kernel": "6"}, "controller": {"commit": None}, "elsewhere": 1}
    record, files = build("mine", trial, trial_result(files={"telemetry.csv": packed(table)}), None, provenance)
    assert record_problems(record) == []
    assert files == {"telemetry.csv": table}
    assert record["trial"] == trial
    assert record["validity"] == {"valid": True, "reasons": []}
    # What was not measured is null and not absent.
    measured = {name: value for name, value in record["measurements"].items() if value is not None}
    assert measured == {"total_migration_time_s": 2.125}
    assert len(record["measurements"]) == 16
    assert record["provenance"] == {"source": {"kernel": "6"}, "destination": {}, "controller": {"commit": None}}


def test_a_trial_knows_the_link_as_it_was_proved(
    trial: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    times = {"ping_us": 201.3, "page_us": 236.2, "bulk_mbit_per_s": 963.5, "cost_cores": 0.14}
    link = {**trial["link"], "proof": {**times, "proved_at": "2026-01-31T23:58:00Z"}}
    for proved in (link, {**link, "proof": None}, None):
        record, _files = build("mine", trial, trial_result(link=proved), None, {})
        assert record_problems(record) == []
        assert record["link"] == proved
    record, _files = build("mine", trial, trial_result(link={**link, "proof": times}), None, {})
    assert "'proved_at' is a required property" in record["validity"]["reasons"][0]


@pytest.mark.parametrize(
    ("quickack", "prefetch_pages", "told"), [(False, 10, True), (False, 1, False), (True, 10, False), (None, 10, False)]
)
def test_a_trial_on_real_hosts_says_that_acknowledgements_are_delayed_where_that_matters(
    trial: dict[str, Any],
    trial_result: Callable[..., dict[str, Any]],
    quickack: bool | None,
    prefetch_pages: int,
    told: bool,
) -> None:
    proof = {"ping_us": 200.0, "page_us": 240.0, "bulk_mbit_per_s": 940.0, "cost_cores": None}
    found = dict.fromkeys(("rate_mbit", "delay_us", "queue"))
    link = {**found, "congestion_control": "cubic", "mtu": 1500, "quickack": quickack}
    link["proof"] = {**proof, "proved_at": "2026-01-31T23:58:00Z"}  # type: ignore[assignment]
    trial["method"] = {**trial["method"], "prefetch_pages": prefetch_pages}
    record, _files = build("mine", trial, trial_result(link=link, cautions=["another"]), None, {})
    assert record_problems(record) == []
    assert record["link"] == link
    assert record["cautions"][:1] == ["another"]
    assert ["lacks quickack" in text for text in record["cautions"][1:]] == ([True] if told else [])


def test_failed_trial_keeps_evidence_but_no_measurements(
    trial: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    record, _files = build("mine", trial, trial_result(), "host unreachable", {})
    assert record_problems(record) == []
    assert record["validity"] == {"valid": False, "reasons": ["host unreachable"]}
    assert set(record["measurements"].values()) == {None}
    assert record["events"]
    bare, _files = build("mine", trial, {}, "host unreachable", {})
    assert record_problems(bare) == []


def test_trial_that_does_not_say_whether_it_is_valid(
    trial: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    record, _files = build("mine", trial, trial_result(validity=None), None, {})
    assert record["validity"] == {"valid": False, "reasons": ["the trial did not say whether it is valid"]}


@pytest.mark.parametrize(
    "changes",
    [
        {"measurements": {"downtime_ms": -1}},
        {"measurements": {"downtime_ms": float("nan")}},
        {"measurements": {"happiness": 1}},
        {"measurements": [1]},
        {"events": [{"name": "STOP"}]},
        {"events": "none"},
        {"clock_offset": 1},
        {"started_at": "yesterday"},
        {"validity": {"valid": True}},
        {"validity": {"valid": True, "reasons": ["but"]}},
        {"validity": [True]},
        {"memory_verified": False},
        {"files": {"telemetry.csv": "no base64"}},
        {"files": {"telemetry.csv": base64.b64encode(b"no zlib").decode()}},
        {"files": {"telemetry.csv": packed(b"cut off")[:-8]}},
        {"files": ["telemetry.csv"]},
        {"files": {"telemetry.csv": 1}},
    ],
    ids=str,
)
def test_nonsense_leaves_the_record_of_a_failure(
    changes: dict[str, Any], trial: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    record, files = build("mine", trial, trial_result(**changes), None, {})
    assert record_problems(record) == []
    assert not record["validity"]["valid"]
    assert record["validity"]["reasons"][0].startswith("what the trial returned is not a valid record: ")
    assert set(record["measurements"].values()) == {None}
    assert files == {}


def test_nonsense_does_not_hide_the_failure(trial: dict[str, Any]) -> None:
    record, _files = build("mine", trial, {"events": 1}, "host unreachable", {})
    assert record["validity"]["reasons"][0].startswith(
        "host unreachable / what the trial returned is not a valid record"
    )


@pytest.mark.parametrize("content", [None, b"no gzip", gzip.compress(b"cut off")[:-8]], ids=["missing", "junk", "cut"])
def test_a_file_that_did_not_arrive_leaves_the_record_of_a_failure(
    content: bytes | None, tmp_path: Path, trial: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    if content is not None:
        (tmp_path / "requests.csv.gz").write_bytes(content)
    result = trial_result(stored_files=["/far/away/requests.csv.gz"])
    record, files = build("mine", trial, result, None, {}, tmp_path)
    assert "not a valid record" in record["validity"]["reasons"][0]
    assert files == {}


def test_of_a_folder_only_the_files_that_the_result_names_are_kept(
    tmp_path: Path, trial: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    for name in ("requests.csv", "telemetry.csv"):  # one is left over from an interrupted attempt
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(name.encode()))
    record, files = build("mine", trial, trial_result(stored_files=["/far/away/requests.csv.gz"]), None, {}, tmp_path)
    assert record["validity"]["valid"]
    assert files == {"requests.csv": b"requests.csv"}
