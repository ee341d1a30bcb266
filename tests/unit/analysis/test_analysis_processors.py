# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What reports and nights say of processors that others took."""

from __future__ import annotations

from pathlib import Path

import experiment_factory as factory
import pytest

from ansible_collections.vcsp.testbed.analysis.nightly.nights import read_night
from ansible_collections.vcsp.testbed.analysis.statistics.processors import stolen_warnings
from ansible_collections.vcsp.testbed.analysis.summary import summarise
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import read_experiment


@pytest.mark.parametrize(
    ("stolen", "told"), [((None, None), None), ((4.0, 6.0), None), ((None, 34.2), "34 %"), ((20.0, 31.0), "26 %")]
)
def test_what_others_took_is_told_once_and_not_by_trial(
    tmp_path: Path, stolen: tuple[float | None, ...], told: str | None
) -> None:
    of = factory.experiment(("post-copy", "vcsp"), repeats=1)
    records = [factory.sound(of, name)[0] for name in ("post-copy", "vcsp")]
    for record, percent in zip(records, stolen, strict=True):
        values = {} if percent is None else {"stolen_percent": percent}
        record["instruments"]["processors"] = {"present": bool(values), "reason": None, "values": values}
    directory = factory.write(tmp_path, of, records)
    warnings = stolen_warnings(read_experiment(directory).records)
    assert len(warnings) == (told is not None)
    for warning in warnings:
        assert f"other virtual machines took {told} of the destination's processors" in warning.problem
        assert warning in summarise(directory).warnings
        assert str(warning) in read_night(directory).notes
