# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Records: written whole or not at all, checked when read."""

from __future__ import annotations

import copy
import ctypes
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import experiment_factory as factory
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import (
    Cell,
    read_experiment,
    scenario_hash,
    write_experiment,
    write_record,
)
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.schema import (
    experiment_problems,
    measurement_names,
    record_problems,
)

ROOT = Path(__file__).resolve().parents[3]
EXPERIMENT = factory.experiment()
RECORD = factory.record(EXPERIMENT)
TRIAL_ID = RECORD["trial"]["id"]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ON_DISK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _paths(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a document, the document's own left out."""
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [deeper for key, value in items for deeper in ((*path, key), *_paths(value, (*path, key)))]


def _set(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def _put(directory: Path, content: bytes, trial_id: str = TRIAL_ID) -> Path:
    """Write an experiment with one trial whose record.json is ``content``."""
    write_experiment(directory, EXPERIMENT)
    trial = directory / "trials" / trial_id
    trial.mkdir(parents=True, exist_ok=True)
    (trial / "record.json").write_bytes(content)
    return directory


def _reason(directory: Path) -> str:
    """Return why the only trial in ``directory`` was skipped."""
    experiment = read_experiment(directory)
    assert experiment.records == ()
    assert [entry.name for entry in experiment.skipped] == [TRIAL_ID]
    return experiment.skipped[0].reason


def test_a_record_comes_back_with_every_field(tmp_path: Path) -> None:
    factory.write(tmp_path, EXPERIMENT, [RECORD], {"telemetry.csv": b"x"})
    (record,) = read_experiment(tmp_path).records
    assert record.data == RECORD
    assert record.cell == Cell(1, "8 MB sequential work 4", "post-copy")
    assert (record.directory / "telemetry.csv").read_bytes() == b"x"


def test_a_failed_trial_is_a_record_but_not_a_valid_one(tmp_path: Path) -> None:
    failed = factory.record(EXPERIMENT, "vcsp", reasons=["the guest rebooted"])
    factory.write(tmp_path, EXPERIMENT, [RECORD, failed])
    experiment = read_experiment(tmp_path)
    assert [(record.valid, record.reasons) for record in experiment.records] == [
        (True, ()),
        (False, ("the guest rebooted",)),
    ]


def test_a_new_experiment_has_every_trial_missing(tmp_path: Path) -> None:
    write_experiment(tmp_path, EXPERIMENT)
    experiment = read_experiment(tmp_path)
    assert experiment.missing == experiment.planned
    assert len(experiment.planned) == 12


def _is_named_by_the_schema(path: tuple[Any, ...]) -> bool:
    """Say whether the last key of ``path`` is the schema's, not an index nor a key of free content."""
    is_free = path[-2:-1] in {("data",), ("values",), ("instruments",)} or (path[0] == "provenance" and len(path) > 2)
    return isinstance(path[-1], str) and not is_free


# Records from before it was measured are read, too.
OPTIONAL = (
    ("measurements", "link_mbit_per_s"),
    *(("trial", "link", setting) for setting in ("delay_us", "queue", "congestion_control")),
    *(("trial", "guest", setting) for setting in ("system", "accelerator", "idle_mb")),
)
NAMED_PATHS = [path for path in _paths(RECORD) if _is_named_by_the_schema(path) and path not in OPTIONAL]


@pytest.mark.parametrize("path", NAMED_PATHS, ids=lambda path: ".".join(map(str, path)))
def test_a_key_that_is_missing_or_too_many_is_named(path: tuple[Any, ...]) -> None:
    cut = copy.deepcopy(RECORD)
    inner = cut
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    assert any(repr(path[-1]) in problem for problem in record_problems(cut))
    assert any("'typo'" in problem for problem in record_problems(_set(RECORD, (*path[:-1], "typo"), 1)))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("measurements", "downtime_ms"), float("nan"), "measurements.downtime_ms"),
        (("measurements", "downtime_ms"), float("inf"), "measurements.downtime_ms"),
        (("measurements", "downtime_ms"), 10**400, "measurements.downtime_ms"),
        (("measurements", "downtime_ms"), -1, "measurements.downtime_ms"),
        (("measurements", "downtime_ms"), True, "measurements.downtime_ms"),
        (("measurements", "downtime_ms"), "12", "measurements.downtime_ms"),
        (("instruments", "schedstat", "values", "wall"), float("nan"), "instruments.schedstat.values.wall"),
        (("trial", "id"), "../../etc", "trial.id"),
        (("trial", "id"), "r01\n", "trial.id"),
        (("trial", "method", "vcpu_quota_percent"), 101, "trial.method.vcpu_quota_percent"),
        (("trial", "workload", "pattern"), "zigzag", "trial.workload.pattern"),
        (("started_at",), "yesterday", "started_at"),
        (("started_at",), "2026-01-02T03:04:05+02:00", "started_at"),
        (("events", 0, "host"), "moon", "events[0].host"),
        (("validity", "reasons"), ["but"], "a valid trial has no reasons"),
        (("validity", "valid"), False, "needs a reason"),
        (("memory_verified",), False, "memory check failed"),
        (("measurements", "downtime_ms"), None, "measured nothing"),
        (("provenance", "source", "odd"), "\ud800", "provenance.source.odd"),
    ],
)
def test_a_bad_value_is_named_with_its_place(path: tuple[Any, ...], value: Any, expected: str) -> None:
    problems = record_problems(_set(RECORD, path, value))
    assert len(problems) == 1
    assert expected in problems[0]


def test_a_newer_schema_version_is_refused_by_name_alone(tmp_path: Path) -> None:
    newer = {"schema_version": 3, "anything": "else"}
    (problem,) = record_problems(newer)
    assert "schema_version 3 is newer" in problem
    assert "schema_version 3 is newer" in _reason(_put(tmp_path, json.dumps(newer).encode()))
    (tmp_path / "experiment.json").write_text(json.dumps(newer))
    with pytest.raises(InputError, match=r"experiment\.json: schema_version 3 is newer"):
        read_experiment(tmp_path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda r: r.update(experiment_id="other-1"), "belongs to experiment other-1, not to synthetic-1"),
        (
            lambda r: r["trial"]["workload"].update(window_mb=9),
            "workload (9 MB sequential work 4) is not in the scenario",
        ),
        (lambda r: r["trial"]["method"].update(name="odd"), "method odd is not in the scenario"),
        (lambda r: r["trial"]["method"].update(prefetch_pages=7), "has other settings"),
        (lambda r: r["trial"].update(repeat=4), "repeat 4 is beyond"),
        (lambda r: r["trial"]["guest"].update(vcpus=2), "guest differs"),
        (lambda r: r["trial"].update(baseline_s=6), "baseline_s differs"),
        (lambda r: r["trial"].update(id="r09-else"), "belongs to trial r09-else"),
    ],
)
def test_a_foreign_record_is_skipped_with_its_reason(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], expected: str
) -> None:
    foreign = copy.deepcopy(RECORD)
    change(foreign)
    assert expected in _reason(_put(tmp_path, json.dumps(foreign).encode()))


def test_an_observation_window_that_the_scenario_sets_is_compared(tmp_path: Path) -> None:
    of = copy.deepcopy(EXPERIMENT)
    of["scenario"]["observation_s"] = 10
    factory.write(tmp_path, of, [factory.record(of)])
    assert "observation_s differs" in _reason(tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (json.dumps(RECORD).encode()[:-50], "truncated"),
        (b"", "truncated"),
        (b"\xff\xfe", "truncated or not usable JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": 1, "a": 2}', "key 'a' is given twice"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": 1e999}', "finite"),
        (b'{"a": ' + b"9" * 5000 + b"}", "truncated or not usable JSON"),
        (b"[]", "not a JSON object"),
        (b'"\\u001b[31m"', "not a JSON object"),
    ],
)
def test_an_unreadable_record_is_skipped_with_its_reason(tmp_path: Path, content: bytes, expected: str) -> None:
    reason = _reason(_put(tmp_path, content))
    assert expected in reason
    assert reason.isprintable()


def test_entries_that_are_not_trials_are_skipped_or_ignored(tmp_path: Path) -> None:
    factory.write(tmp_path, EXPERIMENT, [RECORD])
    trials = tmp_path / "trials"
    (trials / ".half-written").mkdir()
    (trials / "empty").mkdir()
    (trials / "file").write_text("")
    (trials / "odd").mkdir()
    (trials / "odd" / "record.json").mkdir()
    experiment = read_experiment(tmp_path)
    assert len(experiment.records) == 1
    reasons = {entry.name: entry.reason for entry in experiment.skipped}
    assert reasons.keys() == {"empty", "file", "odd"}
    assert reasons["empty"] == "no record.json"
    assert "cannot be read" in reasons["file"]
    assert "cannot be read" in reasons["odd"]


def test_two_records_of_one_cell_do_not_both_count(tmp_path: Path) -> None:
    twin = _set(RECORD, ("trial", "id"), "twin")
    factory.write(tmp_path, EXPERIMENT, [RECORD, twin])
    experiment = read_experiment(tmp_path)
    assert len(experiment.records) == 1
    assert f"same repeat, workload and method as {TRIAL_ID}" in experiment.skipped[0].reason


@ON_DISK
@given(content=st.binary(max_size=60))
def test_no_content_of_a_record_stops_the_reader(tmp_path: Path, content: bytes) -> None:
    assert _reason(_put(tmp_path, content))


@settings(ON_DISK, max_examples=200)
@given(path=st.sampled_from(_paths(RECORD)), value=JSON)
def test_a_mutated_record_is_taken_as_it_is_or_skipped_with_a_reason(
    tmp_path: Path, path: tuple[Any, ...], value: Any
) -> None:
    mutated = _set(RECORD, path, value)
    experiment = read_experiment(_put(tmp_path, json.dumps(mutated).encode()))
    if experiment.records:
        assert experiment.records[0].data == mutated
        assert record_problems(mutated) == []
    else:
        assert experiment.skipped[0].reason.isprintable()
        assert experiment.skipped[0].reason


@ON_DISK
@given(cut=st.integers(min_value=0, max_value=len(json.dumps(RECORD)) - 1))
def test_every_truncation_is_noticed(tmp_path: Path, cut: int) -> None:
    assert "truncated" in _reason(_put(tmp_path, json.dumps(RECORD).encode()[:cut]))


@settings(ON_DISK, max_examples=100)
@given(path=st.sampled_from(_paths(EXPERIMENT)), value=JSON)
def test_a_mutated_experiment_is_read_or_refused(tmp_path: Path, path: tuple[Any, ...], value: Any) -> None:
    mutated = _set(EXPERIMENT, path, value)
    (tmp_path / "experiment.json").write_text(json.dumps(mutated))
    if experiment_problems(mutated) or mutated["scenario_hash"] != scenario_hash(mutated["scenario"]):
        with pytest.raises(InputError, match=r"experiment\.json"):
            read_experiment(tmp_path)
    else:
        assert read_experiment(tmp_path).experiment == mutated


def test_a_directory_without_an_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; give the directory of an experiment"):
        read_experiment(tmp_path / "nowhere")


def test_an_experiment_with_a_method_twice_is_refused(tmp_path: Path) -> None:
    of = copy.deepcopy(EXPERIMENT)
    of["scenario"]["methods"].append({**factory.method("vcsp"), "prefetch_pages": 3})
    with pytest.raises(InputError, match="vcsp is listed twice"):
        write_experiment(tmp_path, of)


def test_the_scenario_hash_does_not_depend_on_the_order_of_keys() -> None:
    scenario = EXPERIMENT["scenario"]
    assert scenario_hash(dict(reversed(scenario.items()))) == scenario_hash(scenario)
    assert scenario_hash({**scenario, "seed": 2}) != scenario_hash(scenario)


def test_the_measurements_are_those_agreed() -> None:
    assert measurement_names() == (
        "downtime_ms",
        "stop_and_copy_ms",
        "page_wait_ms",
        "total_migration_time_s",
        "page_requests",
        "pages_sent",
        "sent_kb",
        "throughput_mb_per_s",
        "baseline_mb_per_s",
        "steady_mb_per_s",
        "stall_loss_s",
        "slow_down_percent",
        "throttled_ms",
        "window_walk_s",
        "link_mbit_per_s",
        "postcopy_rate_mb_per_s",
    )


def test_a_bad_record_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"measurements\.downtime_ms"):
        write_record(tmp_path / "trials", _set(RECORD, ("measurements", "downtime_ms"), "x"))
    assert not (tmp_path / "trials").exists()


@pytest.mark.parametrize("name", ["record.json", "../escape", "a/b", ".hidden", ""])
def test_a_file_name_that_is_not_plain_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="bad name"):
        write_record(tmp_path / "trials", RECORD, {name: b""})


def test_a_record_replaces_an_older_one_with_all_its_files(tmp_path: Path) -> None:
    factory.write(tmp_path, EXPERIMENT, [RECORD], {"telemetry.csv": b"old", "requests.csv": b"old"})
    newer = _set(RECORD, ("measurements", "downtime_ms"), 7.0)
    directory = write_record(tmp_path / "trials", newer, {"telemetry.csv": b"new"})
    assert sorted(path.name for path in directory.iterdir()) == ["record.json", "telemetry.csv"]
    assert (directory / "telemetry.csv").read_bytes() == b"new"
    assert os.listdir(tmp_path / "trials") == [TRIAL_ID]


def test_a_record_can_be_read_by_others_as_the_umask_says(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        directory = write_record(tmp_path / "trials", RECORD, {"telemetry.csv": b""})
    finally:
        os.umask(old)
    assert directory.stat().st_mode & 0o777 == 0o755
    assert (directory / "record.json").stat().st_mode & 0o777 == 0o644


def test_without_an_exchange_of_directories_a_record_is_still_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoExchange:
        @staticmethod
        def renameat2(*_arguments: object) -> int:
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_arguments, **_options: NoExchange)
    monkeypatch.setattr(ctypes, "get_errno", lambda: errno.EINVAL)
    factory.write(tmp_path, EXPERIMENT, [RECORD])
    write_record(tmp_path / "trials", _set(RECORD, ("measurements", "downtime_ms"), 7.0))
    (record,) = read_experiment(tmp_path).records
    assert record.data["measurements"]["downtime_ms"] == 7.0
    assert os.listdir(tmp_path / "trials") == [TRIAL_ID]


# A child that dies, without a chance to clean up, at the n-th system call that changes or syncs the disk.
_DYING_WRITER = """
import ctypes, json, os, shutil, sys
from pathlib import Path
from analysis.__main__ import name_collection

name_collection()
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records import atomic
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import write_record

trials, content, last = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
calls = 0

def dying(call):
    def wrapped(*arguments, **options):
        global calls
        calls += 1
        if calls > last:
            os._exit(9)
        return call(*arguments, **options)
    return wrapped

os.fsync, os.rename, os.mkdir, shutil.rmtree = map(dying, (os.fsync, os.rename, os.mkdir, shutil.rmtree))
atomic._exchange = dying(atomic._exchange)
write_record(trials, content, {"telemetry.csv": b"new"})
print(calls)
"""


def _write_and_die(trials: Path, record: dict[str, Any], last: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _DYING_WRITER, str(trials), json.dumps(record), str(last)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)


def test_a_crash_at_any_step_leaves_the_old_record_or_the_new_one(tmp_path: Path) -> None:
    newer = _set(RECORD, ("measurements", "downtime_ms"), 7.0)
    seen = []
    for last in range(20):
        directory = factory.write(tmp_path / str(last), EXPERIMENT, [RECORD], {"telemetry.csv": b"old"})
        result = _write_and_die(directory / "trials", newer, last)
        experiment = read_experiment(directory)
        (record,) = experiment.records
        assert experiment.skipped == ()
        downtime_ms = record.data["measurements"]["downtime_ms"]
        telemetry = (record.directory / "telemetry.csv").read_bytes()
        assert (downtime_ms, telemetry) in {(100.0, b"old"), (7.0, b"new")}
        seen.append(downtime_ms)
        if result.returncode == 0:
            break
        assert result.returncode == 9, result.stderr
    assert result.returncode == 0
    assert set(seen) == {100.0, 7.0}


def test_the_controller_needs_no_pandas_to_write_records() -> None:
    code = "import sys; from analysis.__main__ import name_collection; name_collection();"
    code += "import ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records;"
    code += "sys.exit(bool({'pandas', 'numpy', 'ansible'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
