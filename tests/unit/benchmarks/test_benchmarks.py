# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the benchmarks needs no lab."""

from __future__ import annotations

import base64
import itertools
import socket
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.gate import read

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks import engine, floor, lab, overhead, policies, report  # noqa: E402


def test_interval_of_the_median() -> None:
    # Order statistics of a sign test, as in any table of them: 1 and 6 of six, 10 and 21 of thirty.
    assert report.spread([5, 1, 4, 2, 3]) == (3, 1, 5, 5)
    assert report.spread(range(1, 7)) == (3.5, 1, 6, 6)
    assert report.spread(range(1, 31)) == (15.5, 10, 21, 30)


@pytest.mark.parametrize(
    ("low", "high", "held"),
    [(1.0, 1.04, "yes"), (1.0, 1.06, "yes, not certain"), (1.04, 1.2, "no, not certain"), (1.06, 1.2, "no")],
)
def test_a_bound_is_held_or_not_or_not_certainly(low: float, high: float, held: str) -> None:
    middle = (low + high) / 2
    ratio = engine.Ratio("", lambda _arm: 1.0, at_most=1.05)
    assert ratio.held(report.Spread(middle, low, high, 9)) == held
    mirrored = engine.Ratio("", lambda _arm: 1.0, at_least=-1.05)
    assert mirrored.held(report.Spread(-middle, -high, -low, 9)) == held


def measured(factor: float) -> engine.Repeat:
    keys = ("fault_us", "page_us", "page_wait_ms", "requests", "total_s", "line_s", "link_mbit_per_s", "program_us")
    return {name: {**dict.fromkeys(keys, factor), "header_us": 1.0} for name in engine.ARMS}


def test_results_are_written_and_read_again(tmp_path: Path) -> None:
    host: dict[str, Any] = {
        "cpu": {"count": 2, "model": "M"},
        "distribution": "D",
        "kernel": "K",
        "accelerator": {"name": "tcg"},
        "qemu": {"version": "1"},
        "libvirt": {"version": "1"},
    }
    broken = {name: values for name, values in measured(2).items() if name != "push"}
    found = engine.Run("command", host, {"commit": None, "dirty": None}, [measured(1), broken], ["repeat 2, push: why"])
    found.save(tmp_path / "new" / "run.json")
    again = engine.Run.read(tmp_path / "new" / "run.json")
    assert again == found
    text = again.markdown()
    assert "| push, throughput: program loaded / not loaded | 1.000 [1.000, 1.000] | ≥ 0.98 | yes | 1 |" in text
    assert text.endswith("- repeat 2, push: why\n")
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(lab.BenchmarkError, match=r"other\.json: no run of this benchmark"):
        engine.Run.read(tmp_path / "other.json")


def test_time_for_a_page_is_that_of_the_typical_sample() -> None:
    # 100 µs a page but for one stall, a sample from the source, and one after the walk.
    rows = ["time_s,host,pages,stalls,stall_ms", "-0.1,source,0,0,0"]
    rows += [
        f"{at},destination,{pages},0,0" for at, pages in ((0.1, 0), (0.2, 1000), (0.3, 1100), (0.4, 2100), (9, 2101))
    ]
    result = {
        "events": [{"name": "WINDOW_WALKED", "time_s": 0.45}],
        "files": {"telemetry.csv": base64.b64encode(zlib.compress("\n".join(rows).encode())).decode()},
        "measurements": {"page_wait_ms": 50, "page_requests": 1000},
    }
    assert engine.demand_paging(result) == {"fault_us": 50, "page_us": pytest.approx(100)}
    assert engine.demand_paging({**result, "events": []}) == {}


def test_ping_pong_answers_with_the_page_asked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=floor.answer_all, args=listener.getsockname())
        thread.start()
        with listener.accept()[0] as connection:
            for wanted_bytes in (0, floor.PAGE_BYTES):
                assert len(floor.round_trips_us(connection, wanted_bytes)) == floor.ROUNDS_AT_ONCE
        thread.join(10)
        assert not thread.is_alive()


def test_scenario_has_every_policy_with_every_number_of_pages() -> None:
    scenario = read(ROOT / "benchmarks" / "policies.yml")
    found = [(method["prefetch_policy"], method["prefetch_pages"]) for method in scenario["methods"]]
    every = set(itertools.product(policies.POLICIES, (1, 2, 5, 10, 32, 64)))
    assert len(found) == len(set(found))
    assert set(found) == every - {("around", 1)}  # the same as fixed
    assert [workload["pattern"] for workload in scenario["workloads"]] == list(policies.PATTERNS)


def test_table_and_figure_of_policies() -> None:
    trials = pd.DataFrame(
        {
            "policy": policy,
            "pages": pages,
            "pattern": pattern,
            "page_requests": 1000 / pages * n,
            "page_wait_ms": 9.0 * n,
        }
        for policy, pages in (("readahead", 10), ("fixed", 1), ("fixed", 10))
        for pattern in policies.PATTERNS
        for n in (1, 2, 3)
    )
    points = policies.medians(trials)
    lines = policies.rows(points)
    assert [line[0] for line in lines] == ["fixed, 1", "fixed, 10", "around, 1", "readahead, 10"]
    assert lines[0][1:] == lines[2][1:] == ["2,000 [1,000, 3,000]", "18 [9, 27]"] * 2
    drawn = policies.figure(points, "32 MB")
    for text in ("Page requests", "Page wait (ms)", "Pages a request", "sequential walk", "random walk", "readahead"):
        assert text in drawn


# Overhead.


def trial(index: int, started: str, ended: str, *events: tuple[str, str, dict[str, str], float]) -> dict[str, Any]:
    """What the benchmark needs of a record."""
    names = ("host", "name", "data", "time_s")
    return {
        "trial": {"index": index, "baseline_s": 1},
        "started_at": f"2026-01-01T10:{started}Z",
        "ended_at": f"2026-01-01T10:{ended}Z",
        "events": [dict(zip(names, event, strict=True)) for event in events],
    }


WATCHED = (("source", "MIGRATION", {"status": "setup"}, -0.5), ("module", "OBSERVATION_END", {}, 6.0))


def test_a_trial_is_taken_apart() -> None:
    records = [trial(2, "00:12", "00:21", *WATCHED), trial(1, "00:00", "00:10", *WATCHED), trial(3, "00:24", "00:33")]
    assert overhead.parts(records) == [(12, 7.5, 2.5, 2), (12, 7.5, 1.5, 3)]


def test_a_trial_that_failed_or_has_no_successor_is_left_out() -> None:
    records = [trial(1, "00:00", "00:10"), trial(2, "00:12", "00:21", *WATCHED), trial(4, "00:50", "00:59", *WATCHED)]
    with pytest.raises(lab.BenchmarkError, match="at least three"):
        overhead.parts(records)
