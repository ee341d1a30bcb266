# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files that were damaged: they are left out with a reason, or refused; a table is never wrong because of them."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import experiment_factory as factory
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.analysis.comparison import compare
from ansible_collections.vcsp.testbed.analysis.data.requests import read_places, read_requests
from ansible_collections.vcsp.testbed.analysis.data.table import tidy
from ansible_collections.vcsp.testbed.analysis.data.telemetry import read_telemetry, throughput_samples
from ansible_collections.vcsp.testbed.analysis.statistics.table3 import Table3, build_table3
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import read_experiment
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.strict_json import parse, unusable_values

ON_DISK = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _table(directory: Path) -> Table3:
    experiment = read_experiment(directory)
    return build_table3(tidy(experiment), experiment.methods, factory.ROLES)


@st.composite
def _damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Damage a file as disks and editors do: cut it, repeat a part, change a part, or put something in."""
    start = draw(st.integers(0, len(content)))
    end = draw(st.integers(start, min(len(content), start + 40)))
    middle = draw(
        st.sampled_from([b"", content[start:end] * 2, b"NaN", b"1e999", b"null", b'"', b"-", b"\\ud800", b"\x00", b"{"])
        | st.binary(max_size=8)
        | st.integers().map(lambda number: str(number).encode())
    )
    return content[:start] + middle + content[end:]


@settings(ON_DISK, max_examples=100)
@given(data=st.data())
def test_a_damaged_record_changes_a_table_only_by_what_it_validly_says(tmp_path: Path, data: st.DataObject) -> None:
    directory = tmp_path / "experiment"
    if not directory.exists():
        factory.full(directory, ("post-copy", "vcsp"), (8,), repeats=3)
    (path, *_) = sorted(directory.glob("trials/*-vcsp/record.json"))
    sound = path.read_bytes()
    damaged = data.draw(_damaged(sound))
    try:
        path.write_bytes(damaged)
        experiment = read_experiment(directory)
        table = _table(directory)
        cell = table.rows[0].cells["downtime"]
        assert all(math.isfinite(each) for each in (cell.baseline.pct, cell.baseline.low, cell.baseline.high) if each)
        if experiment.skipped:
            assert experiment.skipped[0].reason.isprintable()
            shutil.move(path.parent, tmp_path / "aside")
            assert _table(directory) == table
            shutil.move(tmp_path / "aside", path.parent)
        else:
            path.write_text(json.dumps(json.loads(damaged)))
            assert _table(directory) == table
    finally:
        path.write_bytes(sound)


@ON_DISK
@given(data=st.data())
def test_a_damaged_experiment_is_read_or_refused_also_by_compare(tmp_path: Path, data: st.DataObject) -> None:
    if not (tmp_path / "new").exists():
        for name in ("baseline", "new"):
            factory.full(tmp_path / name, ("post-copy", "vcsp"), (8,), repeats=2)
    path = tmp_path / "new" / "experiment.json"
    sound = path.read_bytes()
    try:
        path.write_bytes(data.draw(_damaged(sound)))
        assert compare(tmp_path / "baseline", tmp_path / "new", 10).outcome.exit_status in {0, 10, 11, 12}
    except InputError as error:
        assert "experiment.json" in str(error)
    finally:
        path.write_bytes(sound)


@ON_DISK
@given(data=st.data())
def test_damaged_telemetry_is_finite_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "telemetry.csv"
    path.write_bytes(data.draw(_damaged(factory.telemetry([300.0] * 10))))
    try:
        telemetry = read_telemetry(path)
    except InputError as error:
        assert "telemetry.csv" in str(error)
        return
    if telemetry.time_s[-1] - telemetry.time_s[0] < 1000:
        _, mb_per_s = throughput_samples(telemetry)
        assert (mb_per_s >= 0).all()


@ON_DISK
@given(data=st.data())
def test_damaged_requests_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = b"time_s,block,start,asked,sent_start,sent\n" + b"0.0021,pc.ram,104857600,4096,104857600,40960\n" * 3
    path = tmp_path / "requests.csv"
    path.write_bytes(data.draw(_damaged(content)))
    for read in (read_places, read_requests):
        try:
            read(path)
        except InputError as error:
            assert "requests.csv" in str(error)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.floats() | st.integers() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)
    )
)
def test_what_is_parsed_holds_nothing_unusable(document: object) -> None:
    content = json.dumps(document, ensure_ascii=True).encode()
    if unusable_values(document):
        with pytest.raises(ValueError, match=r"finite|Unicode|not a JSON number"):
            parse(content)
    else:
        assert parse(content) == document


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 400, "9" * 320 + ".5", "9e0999"])
def test_a_number_beyond_the_range_of_a_float_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="finite"):
        parse(f'{{"a": {number}}}'.encode())


@pytest.mark.parametrize("version", [3, 99, 10**18])
def test_a_newer_version_is_refused_by_name_in_every_reader(tmp_path: Path, version: int) -> None:
    directory = factory.full(tmp_path / "experiment", ("post-copy", "vcsp"), (8,), repeats=2)
    (path, *_) = sorted(directory.glob("trials/*/record.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": version}))
    (skipped,) = read_experiment(directory).skipped
    assert f"schema_version {str(version)[:19]}" in skipped.reason
    assert "is newer than 2" in skipped.reason


@pytest.mark.parametrize("version", [0, -1, "1", None, 1.5, True, [1]])
def test_an_invalid_version_is_refused(tmp_path: Path, version: object) -> None:
    directory = factory.full(tmp_path / "experiment", ("post-copy", "vcsp"), (8,), repeats=2)
    (path, *_) = sorted(directory.glob("trials/*/record.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": version}))
    (skipped,) = read_experiment(directory).skipped
    assert "schema_version" in skipped.reason
