# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the instruments agree on how long the guest waited for pages.

Downtime uses the page wait, from schedstat. The guest's own stalls also include the time for which a quota or another
thread kept it from a CPU in the middle of a stall. QEMU's blocktime is shown but not trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ...plugins.module_utils._method import Method
from ...plugins.plugin_utils._records.records import Experiment, Record
from .quality import NoiseWarning

INSTRUMENTS = {"guest_stall_ms": "stalls seen by the guest", "qemu_blocktime_ms": "QEMU's blocktime, vCPUs added up"}

# Between these ratios to the page wait, medians agree; a quota lengthens a stall, so it raises the upper bound.
BOUNDS = {"guest_stall_ms": (0.5, 2.0), "qemu_blocktime_ms": (0.5, 2.0)}
# The guest's workload counts a stall from here on.
LEAST_STALL_US = 50


def instrument_readings(experiment: Experiment) -> pd.DataFrame:
    """Return what the instruments read in each valid trial.

    Columns: ``trial_id``, ``workload``, ``method``, ``page_requests``, ``page_wait_ms`` and those of `INSTRUMENTS` (ms,
    added up over the virtual CPUs; NaN where absent).
    """
    columns = ["trial_id", "workload", "method", "page_requests", "page_wait_ms", *INSTRUMENTS]
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


def disagreements(readings: pd.DataFrame, methods: Sequence[Mapping[str, Any]]) -> tuple[NoiseWarning, ...]:
    """Return a warning for each method and instrument whose median ratio is out of `BOUNDS`.

    :param readings: `instrument_readings`
    :param methods: as the scenario states them
    """
    quotas = {method["name"]: Method.of(method).vcpu_quota_percent for method in methods}
    found = []
    for row in agreement(readings).to_dict("records"):
        low, high = BOUNDS[row["instrument"]]
        if row["instrument"] == "guest_stall_ms":
            high *= 100 / quotas[row["method"]]
        if low <= row["median"] <= high:
            continue
        of_method = readings[readings["method"] == row["method"]]
        fault_us = float((1000 * of_method["page_wait_ms"] / of_method["page_requests"]).median())
        problem = (
            f"{INSTRUMENTS[row['instrument']]} of {row['method']} are {row['median']:.2f} of schedstat's page wait,"
            f" which is beyond {low:g} to {high:g}"
        )
        advice = "the instruments disagree, so do not trust the size of downtime"
        if row["instrument"] == "guest_stall_ms" and row["median"] < low and fault_us < 4 * LEAST_STALL_US:
            advice += f"; a request took {fault_us:.0f} us, and the guest counts stalls from {LEAST_STALL_US} us on"
        found.append(NoiseWarning(problem, advice))
    return tuple(found)


def _row(record: Record) -> dict[str, object]:
    return {
        "trial_id": record.trial_id,
        "workload": record.cell.workload,
        "method": record.cell.method,
        "page_requests": record.data["measurements"]["page_requests"] or None,
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
