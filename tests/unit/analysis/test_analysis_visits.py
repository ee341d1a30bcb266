# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the guest felt: the visits of all valid trials of a cell become one distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import experiment_factory as factory
import pandas as pd
import pytest

from ansible_collections.vcsp.testbed.analysis.data.checked import read_checked
from ansible_collections.vcsp.testbed.analysis.figures.visits import visits_figure
from ansible_collections.vcsp.testbed.analysis.statistics.visits import visit_distribution

BOTH = ("post-copy", "vcsp")


def _visits(directory: Path, *histograms: Any) -> pd.DataFrame:
    """Two methods, one repeat for each histogram; vcsp has none."""
    of = factory.experiment(BOTH, repeats=len(histograms))
    made: list[Any] = []
    for repeat, histogram in enumerate(histograms, start=1):
        for name in BOTH:
            record, _ = factory.sound(of, name, repeat=repeat)
            if name == "post-copy":
                values = {"histogram": histogram}
                record["instruments"]["visit_times"] = {"present": True, "reason": None, "values": values}
            made.append(record)
    return visit_distribution(read_checked(factory.write(directory, of, made)))


def test_trials_are_added_up(tmp_path: Path) -> None:
    found = _visits(tmp_path, {"20": 90, "23": 1}, {"20": 8, "21": 1})
    assert set(found["method"]) == {"post-copy"}
    assert found["took_ms"].tolist() == [2**bit / 1e6 for bit in (20, 21, 22, 23)]
    assert found["longer_percent"].tolist() == pytest.approx([100, 2, 1, 1])
    assert set(found["visits"]) == {100}
    assert set(found["trials"]) == {2}
    assert visits_figure(found, BOTH).svg.startswith("<svg")


@pytest.mark.parametrize("bad", [[1], 7, "x", {"a": 1}, {"-1": 1}, {"64": 1}, {"20": -1}, {"20": "9"}, {"20": 1 << 63}])
def test_what_is_no_histogram_is_left_out(tmp_path: Path, bad: object) -> None:
    assert _visits(tmp_path, bad, {"20": 4})["trials"].tolist() == [1]
    assert visits_figure(_visits(tmp_path / "none", bad), BOTH).chart is None
