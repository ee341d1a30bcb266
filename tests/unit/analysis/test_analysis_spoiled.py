# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Experiments with one field spoiled at random: each gives the table it would have given, or says what is wrong."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import experiment_factory as factory
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.analysis.presentation.tables import table3_markdown, text_table, trials_csv
from ansible_collections.vcsp.testbed.analysis.statistics.metrics import METRICS
from ansible_collections.vcsp.testbed.analysis.statistics.table3 import Table3
from ansible_collections.vcsp.testbed.analysis.summary import Summary, summarise
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError

BOTH = ("post-copy", "vcsp")
EXPERIMENT = factory.experiment(BOTH, repeats=3)
# An instrument's tolerance, 2 %, in one of three repeats, on either side of the ratio.
MOST_POINTS = 2.0
ODD = st.sampled_from([None, True, False, "", "x", "=1+1", [], {}, 0, -1, 1, 0.5, 1e-9, 1e9, 1e15, 1e18, 1e308, -1e308])
SCALES = st.sampled_from([0.0, -1.0, 1e-3, 1 / 1024, 0.1, 0.5, 0.9, 1.1, 2.0, 10.0, 1024.0, 1e3, 1e6])


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from _paths(each, (*path, key))


def _sound(directory: Path) -> Summary:
    """Write the experiment as it should be."""
    for number, name in enumerate(BOTH):
        for repeat in (1, 2, 3):
            made, files = factory.sound(EXPERIMENT, name, repeat=repeat, scale=1 + 0.01 * repeat - 0.3 * number)
            factory.write(directory, EXPERIMENT, [made], files)
    return summarise(directory)


def _cells(table: Table3 | None) -> dict[tuple[str, str], float | None]:
    return (
        {(row.method, m.name): row.cells[m.name].baseline.pct for row in table.rows for m in METRICS} if table else {}
    )


def _spoiled(draw: st.DataObject, document: dict[str, Any]) -> dict[str, Any]:
    found = copy.deepcopy(document)
    *keys, last = draw.draw(st.sampled_from(list(_paths(document))))
    place = found
    for key in keys:
        place = place[key]
    what = draw.draw(st.sampled_from(["scale", "replace", "remove"]))
    if what == "scale" and isinstance(place[last], int | float) and not isinstance(place[last], bool):
        place[last] *= draw.draw(SCALES)
    elif what == "remove":
        del place[last]
    else:
        place[last] = draw.draw(ODD)
    return found


def _check(directory: Path, data: st.DataObject) -> None:
    if not directory.exists():
        _sound(directory)
    files = [*sorted(directory.glob("trials/*/record.json")), directory / "experiment.json"]
    path = files[data.draw(st.sampled_from([1, 4, 6]))]
    content = path.read_bytes()
    wanted = _cells(summarise(directory).table) if not hasattr(_check, "wanted") else _check.wanted
    _check.wanted = wanted  # type: ignore[attr-defined]
    try:
        path.write_text(json.dumps(_spoiled(data, json.loads(content))))
        try:
            summary = summarise(directory)
        except InputError as error:
            assert str(error).isprintable()
            return
        assert trials_csv(summary.trials)
        assert text_table(summary)
        markdown = table3_markdown(summary)
        assert not re.search(r"\bnan\b", markdown)
        left_out = (*summary.experiment.skipped, *summary.experiment.invalid)
        if left_out or summary.table is None:
            assert all(each.reason for each in left_out)
            assert left_out or summary.notice
            return
        for cell, value in _cells(summary.table).items():
            assert value is None or abs(value - (wanted[cell] or 0)) <= MOST_POINTS, cell
    finally:
        path.write_bytes(content)


QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)


@QUICK
@given(data=st.data())
def test_a_spoiled_field_never_changes_a_table_without_a_word(tmp_path: Path, data: st.DataObject) -> None:
    _check(tmp_path / "experiment", data)


@pytest.mark.long
@settings(QUICK, max_examples=10_000)
@given(data=st.data())
def test_none_of_ten_thousand_spoiled_fields_does(tmp_path: Path, data: st.DataObject) -> None:
    _check(tmp_path / "experiment", data)
