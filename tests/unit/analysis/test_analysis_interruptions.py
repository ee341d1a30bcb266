# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How long the guest stood still at a time: median and longest of the trials that say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import experiment_factory as factory
import pytest

from ansible_collections.vcsp.testbed.analysis.presentation.tables import table3_markdown
from ansible_collections.vcsp.testbed.analysis.summary import Summary, summarise

BOTH = ("post-copy", "vcsp")


def _summary(directory: Path, *gaps_ms: float | None) -> Summary:
    of = factory.experiment(BOTH, repeats=len(gaps_ms))
    made: list[Any] = []
    for repeat, gap_ms in enumerate(gaps_ms, start=1):
        for name in BOTH:
            record, _ = factory.sound(of, name, repeat=repeat)
            values = record["instruments"]["guest_stalls"]["values"]
            values.update(longest_gap_ms=gap_ms, stalls=2000, stall_ms=300.0)
            times = {"p50_us": 500.0, "p99_us": 1500.0, "p99_9_us": 4000.0, "longest_ms": 100.0 * repeat}
            record["instruments"]["visit_times"] = {"present": True, "reason": None, "values": times}
            made.append(record)
    made[-1]["validity"] = {"valid": False, "reasons": ["the guest rebooted"]}
    return summarise(factory.write(directory, of, made))


def test_median_and_longest_of_the_valid_trials(tmp_path: Path) -> None:
    table = _summary(tmp_path, 150.0, 900.0, 200.0).interruptions.set_index(["method", "interruption"])
    silence = table.xs("longest silence (ms)", level="interruption")
    assert silence.loc["post-copy", ["n", "median", "longest"]].tolist() == [3, 200.0, 900.0]
    assert silence.loc["vcsp", ["n", "median", "longest"]].tolist() == [2, 525.0, 900.0]
    assert table.loc[("post-copy", "a stall (µs)"), "median"] == pytest.approx(150)
    assert table.loc[("post-copy", "p50 of a visit (ms)"), "median"] == pytest.approx(0.5)
    assert table.loc[("post-copy", "p99 (ms)"), "median"] == pytest.approx(1.5)
    assert table.loc[("post-copy", "longest visit (ms)"), "longest"] == pytest.approx(300)


def test_a_missing_reading_is_missing(tmp_path: Path) -> None:
    summary = _summary(tmp_path, None, None, None)
    assert "longest silence (ms)" not in set(summary.interruptions["interruption"])
    text = table3_markdown(summary)
    line = next(line for line in text.split("stood still")[1].splitlines() if "| post-copy |" in line)
    assert "| - | 150 / 150 (3) |" in line
