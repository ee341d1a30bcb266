# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Results that nobody would write in good faith: none ends in a traceback or a hang, and each says what is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import experiment_factory as factory
import pytest

from ansible_collections.vcsp.testbed.analysis.data.archive import pack
from ansible_collections.vcsp.testbed.analysis.data.checked import read_checked
from ansible_collections.vcsp.testbed.analysis.data.requests import read_places, read_requests
from ansible_collections.vcsp.testbed.analysis.data.telemetry import read_telemetry
from ansible_collections.vcsp.testbed.analysis.figures.converter import pngs
from ansible_collections.vcsp.testbed.analysis.figures.every import draw_figures
from ansible_collections.vcsp.testbed.analysis.presentation.tables import table3_markdown, text_table, trials_csv
from ansible_collections.vcsp.testbed.analysis.statistics.requests import prefetch_accuracy_percent
from ansible_collections.vcsp.testbed.analysis.summary import summarise
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import read_experiment
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.strict_json import parse

ROOT = Path(__file__).resolve().parents[3]
BOTH = ("post-copy", "vcsp")
HEADER = "time_s,block,start,asked,sent_start,sent\n"


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """End a test that hangs; a minute is far more than any of them takes, however slow the machine."""

    def hung(*_: object) -> None:
        raise TimeoutError("hung")

    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _spoil(path: Path, *keys: str | int, value: Any) -> None:
    document = json.loads(path.read_text())
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(document))


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return factory.full(tmp_path / "experiment", BOTH, (8,), repeats=2)


def _first(experiment: Path, name: str = "record.json") -> Path:
    return sorted(experiment.glob(f"trials/*/{name}"))[0]


@pytest.mark.parametrize("number", ["1e308", "-1e300", "1" + "0" * 30, "2e19"])
def test_a_number_that_no_host_could_report_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="too large"):
        parse(f'{{"a": [{number}]}}'.encode())


@pytest.mark.parametrize(
    "place",
    [
        ("measurements", "downtime_ms"),
        ("measurements", "page_requests"),
        ("instruments", "schedstat", "values", "page_wait_ms"),
        ("trial", "index"),
        ("events", 0, "time_s"),
    ],
)
def test_a_record_with_such_a_number_is_left_out(experiment: Path, place: tuple[str | int, ...]) -> None:
    _spoil(_first(experiment), *place, value=1e308)
    summary = summarise(experiment)
    assert "too large" in summary.experiment.skipped[0].reason


@pytest.mark.parametrize(("key", "value"), [("window_mb", 1e18), ("work_per_page", 1e18)])
def test_a_scenario_beyond_all_bounds_is_refused(tmp_path: Path, key: str, value: float) -> None:
    with pytest.raises(InputError, match="maximum"):
        factory.write(tmp_path, factory.experiment(BOTH, [factory.workload(8) | {key: value}]), [])


def test_whole_numbers_may_be_written_with_a_decimal_point(experiment: Path) -> None:
    for name in ("window_mb", "work_per_page"):
        _spoil(_first(experiment), "trial", "workload", name, value=float(factory.workload(8)[name]))
    read = read_experiment(experiment)
    assert not read.missing
    assert len(summarise(experiment).trials) == 4


@pytest.mark.parametrize("name", ["record.json", "telemetry.csv", "requests.csv"])
@pytest.mark.parametrize("kind", ["fifo", "device", "directory"])
def test_a_file_that_is_no_file_is_not_read(experiment: Path, name: str, kind: str) -> None:
    path = _first(experiment, name)
    path.unlink()
    {"fifo": os.mkfifo, "device": lambda at: at.symlink_to("/dev/zero"), "directory": os.mkdir}[kind](path)
    if name == "record.json":
        assert re.search("not a regular file|Is a directory", read_experiment(experiment).skipped[0].reason)
        return
    for read in (read_telemetry,) if name == "telemetry.csv" else (read_places, read_requests):
        with pytest.raises(InputError, match=r"not a regular file|Is a directory"):
            read(path)


def test_a_pipe_is_not_packed(experiment: Path) -> None:
    path = _first(experiment, "telemetry.csv")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match="not a regular file"):
        pack(experiment, experiment / "kept.tar.xz")
    assert not (experiment / "kept.tar.xz").exists()


def test_an_experiment_that_is_no_file_is_refused(experiment: Path) -> None:
    (experiment / "experiment.json").unlink()
    os.mkfifo(experiment / "experiment.json")
    with pytest.raises(InputError, match="not a regular file"):
        read_experiment(experiment)


@pytest.mark.parametrize(("name", "size"), [("record.json", 1 << 40), ("telemetry.csv", 1 << 40)])
def test_a_file_of_a_terabyte_is_not_read(experiment: Path, name: str, size: int) -> None:
    with _first(experiment, name).open("r+b") as file:
        file.truncate(size)
    if name == "record.json":
        assert "larger than" in read_experiment(experiment).skipped[0].reason
    else:
        with pytest.raises(InputError, match="larger than"):
            read_telemetry(_first(experiment, name))


@pytest.mark.parametrize(
    ("row", "expected"),
    [("2000000000.0,destination,9999999,0,0", "spans"), ("2.0,destination,1e300,0,0", "no guest could")],
)
def test_telemetry_beyond_all_bounds_is_refused(tmp_path: Path, row: str, expected: str) -> None:
    path = tmp_path / "telemetry.csv"
    path.write_bytes(factory.telemetry([300.0] * 20) + row.encode() + b"\n")
    with pytest.raises(InputError, match=expected):
        read_telemetry(path)


@pytest.mark.parametrize(
    "row",
    [
        f"0.1,pc.ram,{(1 << 63) - 4096},4096,{(1 << 63) - 4096},4096",
        f"0.1,pc.ram,0,{1 << 62},0,{1 << 62}",
        f"0.1,pc.ram,{1 << 42},4096,{1 << 42},4096",
    ],
)
def test_a_request_for_memory_that_no_guest_has_is_refused(tmp_path: Path, row: str) -> None:
    path = tmp_path / "requests.csv"
    path.write_text(f"{HEADER}0.0,pc.ram,0,4096,0,4096\n{row}\n")
    with pytest.raises(InputError, match="beyond"):
        read_requests(path)


def test_long_requests_cost_no_more_than_the_memory_they_cover(tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    length = 1 << 32
    rows = [f"0.{number},pc.ram,{4096 * number},4096,{4096 * number},{length}" for number in range(200)]
    path.write_text(HEADER + "\n".join(rows) + "\n")
    # All but page 0 are covered ahead, 199 of them are asked for afterwards.
    assert prefetch_accuracy_percent(read_requests(path)) == pytest.approx(100 * (1 - 199 / ((1 << 20) + 198)))


def test_a_scenario_that_does_not_have_its_hash_is_refused(experiment: Path) -> None:
    _spoil(experiment / "experiment.json", "scenario", "methods", 0, "vcpu_period_us", value=20000)
    with pytest.raises(InputError, match="scenario_hash"):
        read_experiment(experiment)


@pytest.mark.parametrize("name", ["a-copy", "z-copy"])
def test_a_second_record_of_a_cell_displaces_none(tmp_path: Path, name: str) -> None:
    of = factory.experiment(BOTH, repeats=1)
    records = [factory.sound(of, method)[0] for method in BOTH]
    copy = factory.sound(of, "vcsp", scale=5)[0]
    copy["trial"]["id"] = name
    read = read_experiment(factory.write(tmp_path, of, [*records, copy]))
    assert {record.trial_id for record in read.records} == {record["trial"]["id"] for record in records}
    assert [skipped.name for skipped in read.skipped] == [name]


def test_of_two_records_of_a_cell_without_the_name_of_the_plan_none_is_used(tmp_path: Path) -> None:
    of = factory.experiment(BOTH, repeats=1)
    records = [factory.sound(of)[0], *(factory.sound(of, "vcsp", scale=scale)[0] for scale in (1, 5))]
    for record, name in zip(records[1:], ("one", "other"), strict=True):
        record["trial"]["id"] = name
    read = read_experiment(factory.write(tmp_path, of, records))
    assert [record.trial_id for record in read.records] == [records[0]["trial"]["id"]]
    assert {skipped.name for skipped in read.skipped} == {"one", "other"}


def test_a_record_with_the_name_of_another_cell_is_not_used(tmp_path: Path) -> None:
    of = factory.experiment(BOTH, repeats=2)
    record = factory.sound(of, "vcsp")[0]
    record["trial"]["repeat"] = 2
    read = read_experiment(factory.write(tmp_path, of, [record]))
    assert read.records == ()
    assert "r01-0008mb-sequential-vcsp" in read.skipped[0].reason


def test_formulas_and_long_reasons_do_not_reach_the_tables(tmp_path: Path) -> None:
    of = factory.experiment(BOTH, repeats=2)
    formula = factory.record(of, reasons=["=cmd|' /C calc'!A0"])
    endless = factory.record(of, "vcsp", reasons=["x" * 1_000_000, *(f"reason {number}" for number in range(10_000))])
    summary = summarise(factory.write(tmp_path, of, [formula, endless]))
    lines = trials_csv(summary.trials).splitlines()
    assert "'=cmd|" in lines[1]
    assert max(map(len, [*lines, *table3_markdown(summary).splitlines()])) < 10_000


def test_a_full_disk_names_the_file_and_leaves_no_part_of_one(experiment: Path) -> None:
    program = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); sys.argv[0] = ''"
    program += "; sys.argv[1:1] = ['report']; runpy.run_module('analysis', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", program, str(experiment)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 2
    assert re.fullmatch(r"(warning: .*\n)*error: \S+/report/\S+: File too large\n", done.stderr)
    assert not [*(experiment / "report").glob(".*"), *(experiment / "report").glob("*.part")]


def test_a_png_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>')
    (tmp_path / "a.png").mkdir()
    with pytest.raises(InputError, match=r"a\.png: Is a directory"):
        pngs([tmp_path / "a.svg"]).result()
    assert {path.name for path in tmp_path.iterdir()} == {"a.svg", "a.png"}


def test_a_method_named_as_a_property_of_all_objects_is_drawn(tmp_path: Path) -> None:
    of = factory.experiment(BOTH, repeats=2)
    made = [factory.sound(of, name, repeat=repeat) for name in BOTH for repeat in (1, 2)]
    for method in (of["scenario"]["methods"][1], *(record["trial"]["method"] for record, _ in made[2:])):
        method["name"] = "constructor"
    for record, _ in made:
        record["trial"]["id"] = record["trial"]["id"].replace("vcsp", "constructor")
    requests = b"time_s,block,start,asked,sent_start,sent\n0.1,pc.ram,0,4096,0,40960\n"
    summary = summarise(
        factory.write(tmp_path, of, [record for record, _ in made], {**made[0][1], "requests.csv": requests})
    )
    figures = draw_figures(summary)
    assert "constructor" in figures.by_file["figure3_downtime.svg"].svg
    for name, figure in figures.by_file.items():
        assert figure.svg.startswith("<svg"), name


def test_throughput_that_the_telemetry_contradicts_is_not_used(tmp_path: Path) -> None:
    of = factory.experiment(BOTH, repeats=2)
    record, files = factory.sound(of)
    wrong, _ = factory.sound(of, "vcsp")
    for name in ("throughput", "steady", "baseline"):
        wrong["measurements"][f"{name}_mb_per_s"] *= 1024
    experiment = read_checked(factory.write(tmp_path, of, [record, wrong], files))
    assert [each.valid for each in experiment.records] == [True, False]
    assert "by the guest's telemetry" in experiment.records[1].reasons[0]


@pytest.mark.parametrize("factor", [0.0, 1 / 1024, 1.1, 1000])
@pytest.mark.parametrize(
    "place",
    [
        ("measurements", "postcopy_rate_mb_per_s"),
        ("instruments", "guest_stalls", "values", "stalls"),
        ("instruments", "guest_stalls", "values", "stall_ms"),
        ("instruments", "guest_stalls", "values", "longest_gap_ms"),
    ],
)
def test_a_single_trial_that_its_telemetry_contradicts_is_not_used(
    tmp_path: Path, place: tuple[str, ...], factor: float
) -> None:
    of = factory.experiment(BOTH, repeats=3)
    made = [factory.sound(of, name, repeat=repeat) for name in BOTH for repeat in (1, 2, 3)]
    factory.write(tmp_path, of, [record for record, _ in made], made[0][1])
    assert all(each.valid for each in read_checked(tmp_path).records)
    found = made[0][0]
    for key in place:
        found = found[key]
    _spoil(tmp_path / "trials" / made[0][0]["trial"]["id"] / "record.json", *place, value=found * factor)
    records = read_checked(tmp_path).records
    assert [each.valid for each in records] == [False] + [True] * 5
    assert re.search("by (the guest's|its) telemetry", records[0].reasons[0])


@pytest.mark.parametrize(("gap_ms", "valid"), [(100.0, True), (165.0, True), (60.0, False)])
def test_silence_after_the_telemetry_ended_contradicts_nothing(tmp_path: Path, gap_ms: float, valid: bool) -> None:
    of = factory.experiment(BOTH, repeats=3)
    record, _files = factory.sound(of)  # it completes at 1.5 s
    record["events"][-1]["time_s"] = record["trial"]["observation_s"] = 2.1
    for name in ("throughput_mb_per_s", "steady_mb_per_s", "stall_loss_s", "slow_down_percent"):
        record["measurements"][name] = None
    record["instruments"]["guest_stalls"]["values"]["longest_gap_ms"] = gap_ms
    guest = record["instruments"]["guest_stalls"]["values"]
    telemetry = factory.telemetry([300.0] * 50 + [100.0] * 20 + [310.0] * 2, -5.0, guest["stalls"], guest["stall_ms"])
    (only,) = read_checked(factory.write(tmp_path, of, [record], {"telemetry.csv": telemetry})).records
    assert only.valid == valid, only.reasons


@pytest.mark.parametrize("factor", [1024, 1 / 1024])
def test_throughput_beyond_all_that_the_telemetry_shows_is_not_used(tmp_path: Path, factor: float) -> None:
    of = factory.experiment(BOTH, repeats=2)
    made = [factory.sound(of, name, repeat=repeat)[0] for name in BOTH for repeat in (1, 2)]
    for record in made:
        record.update(events=[], instruments={})
    files = {"telemetry.csv": factory.telemetry([250.0, 300.0, 100.0, 310.0])}
    assert all(each.valid for each in read_checked(factory.write(tmp_path / "sound", of, made, files)).records)
    for record in made[2:]:
        record["measurements"]["throughput_mb_per_s"] *= factor
    experiment = read_checked(factory.write(tmp_path / "spoiled", of, made, files))
    assert [each.valid for each in experiment.records] == [True, False, True, False]
    assert "between 100 and 310 MB/s" in experiment.records[1].reasons[0]


def test_a_long_caution_does_not_become_a_long_line(tmp_path: Path) -> None:
    of = factory.experiment(BOTH, repeats=2)
    made = [factory.sound(of, name, repeat=repeat)[0] for name in BOTH for repeat in (1, 2)]
    made[0]["cautions"] = ["\x1b[31m" + "y" * 100_000]
    summary = summarise(factory.write(tmp_path, of, made))
    assert any("yyy" in str(warning) for warning in summary.warnings)
    assert all(len(str(warning)) < 1000 and str(warning).isprintable() for warning in summary.warnings)


@pytest.mark.parametrize(("name", "factor"), [("downtime_ms", 0.001), ("total_migration_time_s", 1000)])
def test_a_value_in_another_unit_than_its_repeats_is_not_used(tmp_path: Path, name: str, factor: float) -> None:
    of = factory.experiment(BOTH, repeats=4)
    records = [factory.record(of, repeat=repeat, measurements={name: 90.0 + repeat}) for repeat in (1, 2, 3, 4)]
    records[2]["measurements"][name] *= factor
    for record in records:
        record.update(events=[], instruments={}, started_at=None)
    experiment = read_checked(factory.write(tmp_path, of, records))
    assert [each.valid for each in experiment.records] == [True, True, False, True]
    assert "is the unit right?" in experiment.records[2].reasons[0]


def test_losses_stand_in_the_table_and_the_verdict(tmp_path: Path) -> None:
    of = factory.experiment(BOTH, repeats=3)
    made = [factory.sound(of, name, repeat=repeat)[0] for name in BOTH for repeat in (1, 2, 3)]
    made[-1]["trial"]["observation_s"] = 1.2
    made[-1]["validity"] = {"valid": False, "reasons": ["the migration ended 0.3 s after the observation window"]}
    summary = summarise(factory.write(tmp_path, of, made))
    assert summary.table
    assert (summary.table.baseline_lost, summary.table.rows[0].lost) == (0, 1)
    sentence = "1 trial of vcsp did not end inside the observation window"
    assert sentence in text_table(summary)
    assert sentence in table3_markdown(summary)
    assert "| 2 | 3 | 1 / 0 |" in table3_markdown(summary)


def test_instruments_that_disagree_are_a_warning(tmp_path: Path) -> None:
    of = factory.experiment(BOTH, repeats=2)
    made = [factory.sound(of, name, repeat=repeat)[0] for name in BOTH for repeat in (1, 2)]
    assert not [
        each for each in summarise(factory.write(tmp_path / "a", of, made)).warnings if "schedstat" in str(each)
    ]
    for record in made:
        record["instruments"]["guest_stalls"]["values"]["stall_ms"] /= 6
        record["measurements"]["page_requests"] *= 10
        record["instruments"]["request_trace"]["values"]["requests"] *= 10
    summary = summarise(factory.write(tmp_path / "b", of, made))
    found = [str(each) for each in summary.warnings if "schedstat" in str(each)]
    assert len(found) == 2
    assert "a request took 30 us, and the guest counts stalls from 50 us on" in found[0]
    assert "weaken this verdict" in table3_markdown(summary)
