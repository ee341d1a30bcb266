# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How long the guest stood still at a time, which a mean over all of a migration hides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from ...plugins.plugin_utils._records.records import Experiment, Record


@dataclass(frozen=True)
class Interruption:
    """A way in which the guest stands still: its title with its unit, its definition, and its value in a record."""

    title: str
    definition: str
    value: Callable[[Record], float | None]


def _blackout_ms(record: Record) -> float | None:
    value: float | None = record.data["measurements"]["stop_and_copy_ms"]
    return value


def _silence_ms(record: Record) -> float | None:
    return record.reading("guest_stalls", "longest_gap_ms")


def _stall_us(record: Record) -> float | None:
    stall_ms, stalls = (record.reading("guest_stalls", name) for name in ("stall_ms", "stalls"))
    return None if stall_ms is None or not stalls else 1000 * stall_ms / stalls


def _visit_ms(name: str) -> Callable[[Record], float | None]:
    def value(record: Record) -> float | None:
        found_us = record.reading("visit_times", name)
        return None if found_us is None else found_us / 1000

    return value


def _longest_visit_ms(record: Record) -> float | None:
    return record.reading("visit_times", "longest_ms")


INTERRUPTIONS = (
    Interruption("blackout (ms)", "From the stop on the source to the resume on the destination.", _blackout_ms),
    Interruption(
        "longest silence (ms)",
        "The longest time between two of the guest's reports, which are due every 100 ms, from 1 s before the resume to"
        " 1 s after the last page.",
        _silence_ms,
    ),
    Interruption("a stall (µs)", "What the guest saw as stalls, divided by their number.", _stall_us),
    Interruption(
        "p50 of a visit (ms)",
        "Half of the visits of a page took no longer, from the switch to the end of the observation window, by the"
        " guest's clock, which stands still in the blackout; exact to a factor of two, as are the next two.",
        _visit_ms("p50_us"),
    ),
    Interruption("p99 (ms)", "The same of a hundred visits and 99.", _visit_ms("p99_us")),
    Interruption("p99.9 (ms)", "The same of a thousand visits and 999.", _visit_ms("p99_9_us")),
    Interruption("longest visit (ms)", "The longest of them.", _longest_visit_ms),
)


def interruptions(experiment: Experiment) -> pd.DataFrame:
    """Summarise the interruptions of the valid trials.

    :returns: one row per workload, method and interruption (its title) with values: ``workload``, ``method``,
        ``interruption``, ``n``, and the ``median`` and ``longest`` of the trials, in the unit of the title
    """
    columns = ["workload", "method", "interruption", "value"]
    rows = [
        (record.cell.workload, record.cell.method, kind.title, kind.value(record))
        for record in experiment.records
        if record.valid
        for kind in INTERRUPTIONS
    ]
    tidy = pd.DataFrame(rows, columns=columns).astype({"value": "float64"}).dropna(subset=["value"])
    groups = tidy.groupby(columns[:3], sort=False)["value"]
    return groups.agg(n="count", median="median", longest="max").reset_index()
