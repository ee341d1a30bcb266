# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How long the guest's visits of a page took after the switch: what an application felt, by workload and method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ...plugins.plugin_utils._records.records import Experiment

COLUMNS = ("workload", "method", "took_ms", "longer_percent", "visits", "trials")
# A visit's time in ns is below 2 to the power of this.
_MOST_BITS = 64


def visit_distribution(experiment: Experiment) -> pd.DataFrame:
    """Return which share of the visits took longer than each power of two, all valid trials of a cell together.

    Columns: ``workload`` (a label), ``method``, ``took_ms``, ``longer_percent`` (of the visits; never 0, as the last
    row of a cell is the last power of two that a visit exceeded), ``visits`` (their number) and ``trials``.
    """
    counts: dict[tuple[str, str], Counter[int]] = {}
    trials: Counter[tuple[str, str]] = Counter()
    for record in experiment.records:
        found = _histogram(record.readings("visit_times")) if record.valid else {}
        if found:
            key = record.cell.workload, record.cell.method
            counts.setdefault(key, Counter()).update(found)
            trials[key] += 1
    rows = []
    for (workload, method), bits in counts.items():
        whole = left = bits.total()
        for bit in range(min(bits), max(bits) + 1):
            rows.append((workload, method, 2**bit / 1e6, 100 * left / whole, whole, trials[workload, method]))
            left -= bits[bit]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _histogram(values: Mapping[str, Any]) -> dict[int, int]:
    """Return visits by power of two; empty for what is no histogram, since records are checked for their form only."""
    found = values.get("histogram")
    if not isinstance(found, Mapping):
        return {}
    counts = {int(bit): count for bit, count in found.items() if bit.isdecimal() and int(bit) < _MOST_BITS}
    good = all(isinstance(count, int) and 0 < count < 1 << 63 for count in counts.values())
    return counts if good and len(counts) == len(found) else {}
