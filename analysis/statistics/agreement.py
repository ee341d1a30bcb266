# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the instruments agree on how long the guest waited for pages.

Downtime uses the page wait, from schedstat. The guest's own stalls also include the time for which a quota or another
thread kept it from a CPU in the middle of a stall. QEMU's blocktime is shown but not trusted.
"""

from __future__ import annotations

import pandas as pd

from ...plugins.plugin_utils._records.records import Experiment, Record

INSTRUMENTS = {"guest_stall_ms": "stalls seen by the guest", "qemu_blocktime_ms": "QEMU's blocktime, vCPUs added up"}


def instrument_readings(experiment: Experiment) -> pd.DataFrame:
    """Return what the instruments read in each valid trial.

    Columns: ``trial_id``, ``workload``, ``method``, ``page_wait_ms`` and those of `INSTRUMENTS` (ms, added up over the
    virtual CPUs; NaN where absent).
    """
    columns = ["trial_id", "workload", "method", "page_wait_ms", *INSTRUMENTS]
    frame = pd.DataFrame([_row(record) for record in experiment.records if record.valid], columns=columns)
    return frame.astype(dict.fromkeys(columns[3:], "float64"))


def agreement(readings: pd.DataFrame) -> pd.DataFrame:
    """Summarise `instrument_readings` as ratios to the page wait: 1 is agreement.

    :returns: one row per method and instrument (its column) that was read with a page wait above 0: ``method``,
        ``instrument``, ``n``, and the ``median``, ``least`` and ``most`` of the ratios
    """
    waited = readings[readings["page_wait_ms"] > 0]
    ratios = waited[list(INSTRUMENTS)].div(waited["page_wait_ms"], axis=0).assign(method=waited["method"])
    tidy = ratios.melt(id_vars="method", var_name="instrument", value_name="ratio").dropna(subset=["ratio"])
    groups = tidy.groupby(["method", "instrument"], sort=False)["ratio"]
    return groups.agg(n="count", median="median", least="min", most="max").reset_index()


def _row(record: Record) -> dict[str, object]:
    return {
        "trial_id": record.trial_id,
        "workload": record.cell.workload,
        "method": record.cell.method,
        "page_wait_ms": record.data["measurements"]["page_wait_ms"],
        "guest_stall_ms": record.reading("guest_stalls", "stall_ms"),
        "qemu_blocktime_ms": _blocktime_ms(record),
    }


def _blocktime_ms(record: Record) -> float | None:
    """Return QEMU's blocktime summed over the virtual CPUs; its own total counts only while all of them are blocked."""
    by_vcpu = record.readings("qemu_blocktime").get("postcopy_vcpu_blocktime")
    if not isinstance(by_vcpu, list) or not by_vcpu:
        return None
    numbers = [value for value in by_vcpu if isinstance(value, int | float) and not isinstance(value, bool)]
    return float(sum(numbers)) if len(numbers) == len(by_vcpu) else None
