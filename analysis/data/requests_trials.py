# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which trials' request traces a figure of single trials shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from ...plugins.plugin_utils._records.errors import InputError
from ...plugins.plugin_utils._records.records import Experiment, Record, Skipped
from .requests import REQUESTS_FILE, Places, read_places


@dataclass(frozen=True)
class Traces:
    """One trial's trace a method, by method in the scenario's order.

    ``workload`` is a label, ``what`` names it and the choice; ``memory_mb`` is the guest's memory; ``skipped`` are the
    traces that are not usable.
    """

    workload: str
    by_method: Mapping[str, Places]
    memory_mb: float
    what: str
    skipped: tuple[Skipped, ...]


def typical_traces(experiment: Experiment) -> Traces:
    """Read the trace of the trial with the middle number of requests, of each method.

    It is the largest workload's among those for which most methods have a valid trial with a trace.
    """
    candidates: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    windows: dict[str, int] = {}
    for record in experiment.records:
        if record.valid and (record.directory / REQUESTS_FILE).exists():
            candidates[record.cell.workload][record.cell.method].append(record)
            windows[record.cell.workload] = record.data["trial"]["workload"]["window_mb"] or 0
    memory_mb = float(experiment.scenario["guest"]["memory_mb"] or 0)
    if not candidates:
        return Traces("", {}, memory_mb, "", ())
    workload = max(candidates, key=lambda label: (len(candidates[label]), windows[label]))
    by_method, skipped = {}, []
    for method in experiment.methods:
        records = candidates[workload].get(method)
        if not records:
            continue
        record = _middle(records)
        try:
            by_method[method] = read_places(record.directory / REQUESTS_FILE)
        except InputError as error:
            skipped.append(Skipped(record.trial_id, f"not in the figures of requests: {error}"))
    what = f"{workload}, of each method the trial with the middle number of requests"
    return Traces(workload, by_method, memory_mb, what, tuple(skipped))


def _middle(records: list[Record]) -> Record:
    ordered = sorted(records, key=lambda record: record.data["measurements"]["page_requests"] or 0)
    return ordered[(len(ordered) - 1) // 2]
