# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The directory of an experiment."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.experiment import (
    ExperimentError,
    begin,
    check_id,
    check_place,
    default_id,
    find,
    link_latest,
    prepare,
)
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.record import build
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import write_record
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.gate import load


@pytest.fixture
def normal(scenario: dict[str, Any]) -> dict[str, Any]:
    return load(scenario)


@pytest.fixture
def directory(tmp_path: Path, normal: dict[str, Any]) -> Path:
    """An experiment that has begun."""
    path = tmp_path / "results" / "mine"
    prepare(path)
    begin(path, "mine", normal, {"controller": {}})
    return path


def test_begun(directory: Path, normal: dict[str, Any]) -> None:
    experiment = json.loads((directory / "experiment.json").read_text())
    assert experiment["scenario"] == normal
    assert experiment["experiment_id"] == "mine"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", experiment["created_at"])


def test_new_experiment_is_all_to_do(tmp_path: Path, normal: dict[str, Any]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".lock").touch()
    for path in (tmp_path / "absent", tmp_path / "empty"):
        found = find(path, path.name, normal)
        assert not found.resumed
        assert len(found.pending) == 2
        assert found.done == []


def test_resumed_without_what_is_valid(
    directory: Path, normal: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    first, second = find(directory, "mine", normal).pending
    record, files = build("mine", first, trial_result(), None, {})
    write_record(directory / "trials", record, files)
    record, files = build("mine", second, {}, "it broke", {})
    write_record(directory / "trials", record, files)
    (directory / "trials" / "scrap").mkdir()
    found = find(directory, "mine", normal)
    assert found.resumed
    assert found.done == [first["id"]]
    assert found.pending == [second]
    assert found.notes == [f"{directory}/trials/scrap: not used: no record.json"]


def test_a_repeat_is_of_the_pair_that_began_it(
    directory: Path, normal: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    first, second = find(directory, "mine", normal).pending
    facts = {"pairs": {"left": {"source": {"kernel": "6.1"}}, "right": {"source": {"kernel": "6.8"}}}}
    record, files = build("mine", {**first, "pair": "right"}, trial_result(), None, facts)
    assert (record["trial"]["pair"], record["provenance"]["source"]) == ("right", {"kernel": "6.8"})
    write_record(directory / "trials", record, files)
    # A trial that failed was not measured, and says nothing.
    record, files = build("mine", {**second, "pair": "left"}, {}, "it broke", facts)
    write_record(directory / "trials", record, files)
    found = find(directory, "mine", normal)
    assert found.begun == {(None, first["repeat"]): "right"}
    assert found.pending == [second]


def test_a_loss_is_an_outcome_and_not_run_again(
    directory: Path, normal: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    slow, broken = find(directory, "mine", normal).pending
    switch = {"host": "source", "name": "MIGRATION", "data": {"status": "postcopy-active"}, "time_s": -0.01}
    ended = {"host": "destination", "name": "MIGRATION", "data": {"status": "completed"}, "time_s": 1e4}
    late = {"valid": False, "reasons": ["the migration ended 9990.0 s after the observation window"]}
    for trial, events in ((slow, [switch, ended]), (broken, [switch])):
        result = trial_result(validity=late, events=events)
        write_record(directory / "trials", *build("mine", trial, result, None, {}))
    found = find(directory, "mine", normal)
    assert found.lost == found.done == [slow["id"]]
    assert found.pending == [broken]


def test_truncated_record_is_run_again(
    directory: Path, normal: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    trials = find(directory, "mine", normal).pending
    path = write_record(directory / "trials", *build("mine", trials[0], trial_result(), None, {}))
    (path / "record.json").write_text((path / "record.json").read_text()[:200])
    found = find(directory, "mine", normal)
    assert found.pending == trials
    assert "truncated" in found.notes[0]


def test_other_settings_are_refused(directory: Path, normal: dict[str, Any]) -> None:
    with pytest.raises(ExperimentError, match=r"other settings \(scenario small\).*another experiment_id"):
        find(directory, "mine", {**normal, "repeats": 2})


def test_renamed_directory_is_refused(directory: Path, normal: dict[str, Any]) -> None:
    with pytest.raises(ExperimentError, match="holds the experiment mine"):
        find(directory.rename(directory.with_name("yours")), "yours", normal)


def test_foreign_directory_is_refused(tmp_path: Path, normal: dict[str, Any]) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ExperimentError, match=r"holds thesis\.tex instead of an experiment; give another"):
        find(tmp_path, "mine", normal)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema_version": 2}', '{"schema_version": 1}'])
def test_broken_experiment_is_refused(directory: Path, normal: dict[str, Any], content: str) -> None:
    (directory / "experiment.json").write_text(content)
    with pytest.raises(ExperimentError, match=r"experiment\.json: .*; or give another experiment_id"):
        find(directory, "mine", normal)


def test_directory_that_cannot_be_created_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExperimentError, match="file is not a directory; give another results_dir"):
        prepare(tmp_path / "file" / "mine")
    with pytest.raises(ExperimentError, match="cannot be created"):
        prepare(Path("/proc/mine"))
    # For root, everything is writable but what the kernel refuses.
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ExperimentError, match="is not writable; change its permissions"):
        prepare(tmp_path / "mine")
    with pytest.raises(ExperimentError, match=f"^{tmp_path}: is not writable; change its permissions"):
        check_place(tmp_path / "not" / "yet")
    assert not (tmp_path / "not").exists()


def test_a_file_where_the_directory_should_be(tmp_path: Path, normal: dict[str, Any]) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(ExperimentError, match="cannot be read: Not a directory"):
        find(tmp_path / "mine", "mine", normal)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "latest", "a b", "a\n", "ä", "x" * 101])
def test_unsafe_ids(name: str) -> None:
    with pytest.raises(ExperimentError, match="experiment_id: is "):
        check_id(name)


def test_safe_ids(normal: dict[str, Any]) -> None:
    for name in ("mine", "quick-20260131-235959", "A.b_c-1", "x" * 100, default_id(normal)):
        check_id(name)
    assert re.fullmatch(r"small-\d{8}-\d{6}", default_id(normal))


def test_latest(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        link_latest(tmp_path / name)
        assert (tmp_path / "latest").readlink() == Path(name)
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two", "latest"}
    (tmp_path / "two").rmdir()  # a link that leads nowhere is no reason to stop
    link_latest(tmp_path / "one")


def test_latest_that_is_not_a_link(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    with pytest.raises(ExperimentError, match="is not a link"):
        link_latest(tmp_path / "one")


def test_an_experiment_of_stacks_goes_on_with_the_same_ones(
    tmp_path: Path, normal: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    directory, stacks = tmp_path / "mine", ("old", "new")
    prepare(directory)
    begin(directory, "mine", normal, {"controller": {}}, stacks)
    pending = find(directory, "mine", normal, stacks).pending
    assert Counter(trial["stack"] for trial in pending) == {"old": 2, "new": 2}
    assert all(f"-{trial['stack']}-" in trial["id"] for trial in pending)
    record, files = build("mine", {**pending[0], "pair": "left"}, trial_result(), None, {})
    write_record(directory / "trials", record, files)
    found = find(directory, "mine", normal, stacks)
    assert found.begun == {(pending[0]["stack"], 1): "left"}
    assert found.pending == pending[1:]
    for other, says in (((), "names no stacks to compare"), (("new", "old"), "names the stacks new, old")):
        with pytest.raises(ExperimentError, match=f"holds an experiment of the stacks old, new, .* {says}"):
            find(directory, "mine", normal, other)


def test_stacks_are_not_added_to_an_experiment_that_has_none(directory: Path, normal: dict[str, Any]) -> None:
    with pytest.raises(ExperimentError, match="of no stacks to compare, and the inventory names the stacks old, new"):
        find(directory, "mine", normal, ("old", "new"))
    assert "stacks" not in json.loads((directory / "experiment.json").read_text())
