# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Records as one tidy table: one row per trial, one column per variable."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from ...plugins.plugin_utils._records.records import Experiment, Record
from ...plugins.plugin_utils._records.schema import measurement_names

WORKLOAD_COLUMNS = ("window_mb", "pattern", "rate_mb_per_s", "work_per_page", "writes_percent")
SETTING_COLUMNS = ("trial_id", "repeat", "method", "workload", *WORKLOAD_COLUMNS, "pair", "stack")
VALIDITY_COLUMNS = ("valid", "lost", "reasons")
_FRAGMENT = "not pooled: its pair has a single trial of some method on this workload, and another pair has more"


def tidy(experiment: Experiment) -> pd.DataFrame:
    """Return the trials of ``experiment``, valid or not, by workload, method (in the scenario's order) and repeat.

    Columns: ``trial_id``, ``repeat``, ``method``, ``workload`` (a label), ``window_mb`` (nullable integer),
    ``pattern``, ``rate_mb_per_s``, ``work_per_page`` and ``writes_percent`` (nullable numbers), ``pair`` and ``stack``
    (empty where the experiment has none), ``valid``, ``lost`` (see `Record.lost`), ``reasons`` (joined by "; "), and
    every measurement under its name in the record, unit included, as float with NaN for what is missing.
    """
    place = {cell: index for index, cell in enumerate(experiment.planned)}
    rows = [_row(record) for record in sorted(experiment.records, key=lambda record: place[record.cell])]
    frame = pd.DataFrame(rows, columns=[*SETTING_COLUMNS, *VALIDITY_COLUMNS, *measurement_names()])
    types = dict.fromkeys(measurement_names(), "float64")
    numbers = {"window_mb": "Int64", "rate_mb_per_s": "Float64", "work_per_page": "Int64", "writes_percent": "Int64"}
    return _without_fragments(frame.astype({**types, **numbers, "repeat": "int64", "valid": "bool", "lost": "bool"}))


def _without_fragments(trials: pd.DataFrame) -> pd.DataFrame:
    """Return ``trials`` without those of a pair that has a single one of some method, where another pair has more.

    Such a pair has died early. It shows no scatter, and without that there would be no interval.
    """
    strata = list(zip(trials["workload"], trials["pair"], strict=True))
    rows = zip(strata, trials["method"], trials["valid"], strict=True)
    counts = Counter((key, method) for key, method, valid in rows if valid)
    least: dict[tuple[str, str], int] = {}
    for (key, _method), count in counts.items():
        least[key] = min(count, least.get(key, count))
    enough = {workload for (workload, _pair), count in least.items() if count > 1}
    alone = trials["valid"] & np.array([least.get(key) == 1 and key[0] in enough for key in strata], dtype=bool)
    return trials.assign(valid=trials["valid"] & ~alone, reasons=trials["reasons"].where(~alone, _FRAGMENT))


def _row(record: Record) -> dict[str, object]:
    trial = record.data["trial"]
    return {
        "trial_id": record.trial_id,
        "repeat": trial["repeat"],
        "pair": record.pair or "",
        "stack": record.stack or "",
        "method": trial["method"]["name"],
        "workload": record.cell.workload,
        **trial["workload"],
        "valid": record.valid,
        "lost": record.lost,
        "reasons": "; ".join(record.reasons),
        **record.data["measurements"],
    }
