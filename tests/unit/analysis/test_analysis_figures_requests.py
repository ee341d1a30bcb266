# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Figures made from the request traces and the instruments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import experiment_factory as factory
import numpy as np
import pytest

from ansible_collections.vcsp.testbed.analysis.data.requests import Places, read_places, read_requests, typical_traces
from ansible_collections.vcsp.testbed.analysis.figures.agreement import instruments_figure
from ansible_collections.vcsp.testbed.analysis.figures.every import draw_figures
from ansible_collections.vcsp.testbed.analysis.figures.requests import heatmap_figure
from ansible_collections.vcsp.testbed.analysis.statistics.agreement import instrument_readings
from ansible_collections.vcsp.testbed.analysis.statistics.requests import (
    COLUMNS,
    ROWS,
    Grid,
    count_requests,
    prefetch_accuracy_percent,
)
from ansible_collections.vcsp.testbed.analysis.summary import summarise
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import read_experiment, write_record

NEW = "time_s,block,start,asked,sent_start,sent\n"
OLD = "time_s,start,asked,sent\n"
PAGE = 4096


def _trace(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "requests.csv"
    path.write_text(text)
    return path


def _new(*requests: tuple[int, int, int]) -> str:
    """Make a trace of (page asked for, first page sent, pages sent), one per millisecond."""
    lines = [
        f"{number / 1000},pc.ram,{page * PAGE},{PAGE},{sent * PAGE},{count * PAGE}"
        for number, (page, sent, count) in enumerate(requests)
    ]
    return NEW + "\n".join(lines) + "\n"


def test_both_formats_are_read_and_only_guest_memory_counts(tmp_path: Path) -> None:
    path = _trace(tmp_path, NEW + "0.5,pc.ram,8192,4096,4096,12288\n0.6,,0,4096,0,4096\n")
    places = read_places(path)
    assert (places.time_s.tolist(), places.page.tolist()) == ([0.5], [2])
    requests = read_requests(path)
    assert [array.tolist() for array in vars(requests).values()] == [[2], [1], [1], [3]]

    path = _trace(tmp_path, OLD + "-0.1,8192,4096,40960\n")
    assert read_places(path).time_s.tolist() == [-0.1]
    assert [array.tolist() for array in vars(read_requests(path)).values()] == [[2], [1], [2], [10]]


@pytest.mark.parametrize("header", [NEW, OLD])
def test_a_trace_without_requests_is_valid(tmp_path: Path, header: str) -> None:
    path = _trace(tmp_path, header)
    assert len(read_places(path).page) == 0
    assert prefetch_accuracy_percent(read_requests(path)) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "does not begin with time_s,block"),
        ("time_s\n", "does not begin"),
        (NEW + "0.1,pc.ram,81", "truncated"),
        (NEW + "0.1,pc.ram,x,4096,0,4096\n", "not from the testbed"),
        (NEW + "0.1,pc.ram,1e999,4096,0,4096\n", "not from the testbed"),
        (NEW + "0.1,pc.ram,-4096,4096,0,4096\n", "negative"),
        (
            NEW + "0.1,pc.ram,4096,4096,4096,4096,1,2\n0.1,pc.ram,4096,4096,4096,4096,1\n",
            "from the testbed|negative",
        ),
    ],
)
def test_a_bad_trace_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        read_requests(_trace(tmp_path, text))


@pytest.mark.parametrize("time_s", ["", "nan", "inf", "1e999"])
def test_a_time_that_is_not_a_number_is_refused(tmp_path: Path, time_s: str) -> None:
    with pytest.raises(InputError, match=r"requests\.csv holds times that are not numbers"):
        read_places(_trace(tmp_path, f"{NEW}0.1,pc.ram,0,4096,0,4096\n{time_s},pc.ram,0,4096,0,4096\n"))


def test_an_absent_or_binary_trace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_places(tmp_path / "requests.csv")
    (tmp_path / "requests.csv").write_bytes(b"\xff\x00\xfe")
    with pytest.raises(InputError, match="does not begin"):
        read_places(tmp_path / "requests.csv")


def test_every_request_is_in_the_cell_of_its_time_and_place() -> None:
    grid = Grid(0.0, float(COLUMNS), float(ROWS))  # a cell is 1 s and 1 MB
    time_s = np.array([0.0, 0.5, 1.0, COLUMNS, COLUMNS + 0.1, -0.1, 2.0])
    page = np.array([0, 255, 256, 0, 0, 0, 256 * ROWS])
    counts = count_requests(Places(time_s, page), grid)
    assert counts.shape == (ROWS, COLUMNS)
    assert counts[0, 0] == 2
    assert counts[1, 1] == 1
    assert counts[0, COLUMNS - 1] == 1  # the last one, at the end of the last cell
    assert counts.sum() == 4  # late, early and beyond the memory are in none


def test_a_trace_longer_than_one_chunk_is_counted_whole() -> None:
    random = np.random.default_rng(1)
    places = Places(random.uniform(0, 9, 200_000), random.integers(0, 1000, 200_000))
    counts = count_requests(places, Grid(0.0, 9.0, 1000 / 256))
    expected, _, _ = np.histogram2d(places.page, places.time_s, (ROWS, COLUMNS), ((0, 1000), (0, 9)))
    assert counts.sum() == 200_000
    assert np.abs(counts - expected).sum() < 10  # which side of an edge is a matter of rounding


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        ([(0, 0, 1), (1, 1, 1)], None),  # nothing prefetched
        ([(0, 0, 4)], 100.0),
        ([(0, 0, 5), (1, 1, 5)], 80.0),  # of 1 to 5, page 1 was asked for again
        ([(3, 2, 3), (3, 3, 1), (2, 2, 1)], 50.0),  # sent to both sides; asking twice for 3 is no prefetch
        ([(1, 1, 1), (0, 0, 2)], None),  # page 1 had been asked for before
    ],
)
def test_accuracy_counts_prefetched_pages_that_were_not_asked_for_again(
    tmp_path: Path, requests: list[tuple[int, int, int]], expected: float | None
) -> None:
    assert prefetch_accuracy_percent(read_requests(_trace(tmp_path, _new(*requests)))) == expected


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment of two methods whose trials have traces, one of them truncated."""
    directory = tmp_path_factory.mktemp("traced")
    of = factory.experiment(("post-copy", "post-copy-prefetching"), repeats=3)
    factory.write(directory, of, [])
    for repeat in (1, 2, 3):
        values = {"downtime_ms": 100.0, "page_wait_ms": 90.0, "page_requests": 10 * repeat}
        plain = _new(*((page, page, 1) for page in range(10 * repeat)))
        ahead = NEW + "0.1,pc.ram,8" if repeat == 3 else _new((0, 0, 10), (10, 10, 10))
        for name, text in (("post-copy", plain), ("post-copy-prefetching", ahead)):
            record = factory.record(of, name, repeat=repeat, measurements=values)
            record["instruments"]["guest_stalls"] = {"present": True, "reason": None, "values": {"stall_ms": 95.0}}
            write_record(directory / "trials", record, {"requests.csv": text.encode()})
    return directory


def test_the_trial_with_the_median_number_of_requests_represents_its_method(traced: Path) -> None:
    traces = typical_traces(read_experiment(traced))
    assert {method: len(places.page) for method, places in traces.by_method.items()} == {
        "post-copy": 20,
        "post-copy-prefetching": 2,
    }
    assert (traces.memory_mb, traces.skipped) == (512, ())


def test_the_figures_say_what_the_traces_show_and_which_are_unusable(traced: Path) -> None:
    figures = draw_figures(summarise(traced))
    assert [entry.reason.split(":")[0] for entry in figures.skipped] == ["not in the figure of prefetch accuracy"]
    accuracy = figures.by_file["prefetch_accuracy.svg"]
    assert ">post-copy-prefetching<" in accuracy.svg
    assert ">vcsp<" not in accuracy.svg
    spec = accuracy.spec()
    assert spec is not None
    (rows,) = spec["datasets"].values()
    assert [(row["method"], row["mean"], row["n"]) for row in rows] == [("post-copy-prefetching", 100.0, 2)]
    svg = figures.by_file["request_heatmap.svg"].svg
    assert "Guest memory (MB)" in svg
    assert "Time since resume on the destination (s)" in svg
    assert list(figures.by_workload["request_heatmap.svg"]) == ["8 MB sequential work 4"]


def test_the_figure_stays_small_however_long_the_trace() -> None:
    random = np.random.default_rng(1)
    places = Places(np.linspace(0, 60, 300_000), random.integers(0, 131072, 300_000))
    assert len(heatmap_figure({"a": places}, ["a"], 512, "what").svg) < 400_000


def test_empty_traces_draw_nothing() -> None:
    nothing = {"a": Places(np.array([]), np.array([], dtype=np.int64))}
    assert heatmap_figure(nothing, ["a"], 512, "what").chart is None


def _instrument_rows(directory: Path, instruments: dict[str, Any]) -> list[dict[str, Any]]:
    of = factory.experiment()
    record = factory.record(of, measurements={"downtime_ms": 100.0, "page_wait_ms": 90.0})
    record["instruments"] = {
        name: {"present": True, "reason": None, "values": values} for name, values in instruments.items()
    }
    readings = instrument_readings(read_experiment(factory.write(directory, of, [record])))
    spec = instruments_figure(readings, ["post-copy"]).spec()
    if spec is None:
        return []
    return [row for rows in spec["datasets"].values() for row in rows if "instrument" in row]


def test_instruments_are_compared_with_the_page_wait(tmp_path: Path) -> None:
    found = {"guest_stalls": {"stall_ms": 95.0}, "qemu_blocktime": {"postcopy_vcpu_blocktime": [40, 41]}}
    rows = _instrument_rows(tmp_path, found)
    assert [(row["page_wait_ms"], row["other_ms"]) for row in rows] == [(90, 95), (90, 81)]


@pytest.mark.parametrize(
    "found",
    [{}, {"guest_stalls": {"stall_ms": None}}, {"qemu_blocktime": {"postcopy_vcpu_blocktime": [None]}}],
)
def test_a_missing_reading_is_not_drawn(tmp_path: Path, found: dict[str, Any]) -> None:
    assert _instrument_rows(tmp_path, found) == []
