# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An experiment, read and checked also by what a record alone does not show: its telemetry, and the other repeats."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from ...plugins.plugin_utils._records.errors import InputError
from ...plugins.plugin_utils._records.events import time_of_s
from ...plugins.plugin_utils._records.recomputed import stopped_s
from ...plugins.plugin_utils._records.records import Cell, Experiment, Record, read_experiment
from .telemetry import PAGES_PER_MB, TELEMETRY_FILE, Telemetry, Values, read_telemetry, throughput_samples

# Between two reports the guest's progress is not known, and it may have been stopped.
_TOLERANCE = 0.02
_TOLERANCE_MB_PER_S = 1.0
# No trial differs as much from its repeats, but units do: ms and s, KB and MB.
UNIT_FACTOR = 500.0
_MEASUREMENTS = (
    "downtime_ms",
    "total_migration_time_s",
    "page_requests",
    "throughput_mb_per_s",
    "postcopy_rate_mb_per_s",
    "sent_kb",
)
_COMPLETED = ("destination", "MIGRATION", "completed")
_OBSERVED = ("module", "OBSERVATION_END")
# Title, measurement, and the event until which it is a mean.
_RATES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("throughput", "throughput_mb_per_s", _OBSERVED),
    ("post-copy rate", "postcopy_rate_mb_per_s", _COMPLETED),
)
# The guest's stalls are those of its reports until so long after the last page.
_LAST_REPORT_S = 0.2
# Times in telemetry have four decimals: a report this close to a time may have been on either side of it.
_ROUNDING_S = 0.0001


def read_checked(directory: Path) -> Experiment:
    """Read the experiment in ``directory`` as `read_experiment` does, with all rules checked.

    :raises InputError: ``directory`` holds no readable experiment
    """
    experiment = read_experiment(directory)
    cells: dict[Cell, list[Record]] = defaultdict(list)
    for record in experiment.records:
        if record.valid:
            cells[replace(record.cell, repeat=0)].append(record)
    broken = {record.cell: found for records in cells.values() for record, found in _contradictions(records)}
    return replace(experiment, records=tuple(_with(record, broken) for record in experiment.records))


def read_one_stack(directory: Path) -> Experiment:
    """Read the experiment in ``directory`` as `read_checked` does, if it does not compare stacks itself.

    :raises InputError: it does, or ``directory`` holds no readable experiment
    """
    experiment = read_checked(directory)
    if experiment.stacks:
        raise InputError(
            f"{directory}: compares the stacks {', '.join(experiment.stacks)}, and cannot be held against another "
            f"experiment; python -m analysis compare {directory} holds them against each other"
        )
    return experiment


def _with(record: Record, broken: dict[Cell, str]) -> Record:
    found = broken.get(record.cell)
    return record if found is None else replace(record, broken_rules=(*record.broken_rules, found))


def _contradictions(records: list[Record]) -> Iterator[tuple[Record, str]]:
    """Yield those of a cell's ``records`` that are contradicted, each with the reason."""
    usual = {}
    for name in _MEASUREMENTS:
        values = [value for record in records if (value := record.data["measurements"][name])]
        usual[name] = median(values) if len(values) > 2 else None
    for record in records:
        problem = _by_telemetry(record)
        for name, middle in usual.items():
            value = record.data["measurements"][name]
            if problem is None and value and middle and not 1 / UNIT_FACTOR < value / middle < UNIT_FACTOR:
                problem = f"{name} is {value:.4g}, that of its repeats {middle:.4g}: is the unit right?"
        if problem is not None:
            yield record, problem


def _by_telemetry(record: Record) -> str | None:
    """Return what the guest's telemetry contradicts; None if nothing, or if there is none."""
    if not (record.directory / TELEMETRY_FILE).exists():
        return None
    try:
        telemetry = read_telemetry(record.directory / TELEMETRY_FILE)
    except InputError:  # the figure that needs it says so
        return None
    stated = record.data["measurements"]["throughput_mb_per_s"]
    if not record.data["events"]:
        return None if stated is None else _beyond_samples(stated, telemetry)
    return _rates(record, telemetry) or _stalls(record, telemetry)


def _rates(record: Record, telemetry: Telemetry) -> str | None:
    events = record.data["events"]
    for title, name, end in _RATES:
        stated = record.data["measurements"][name]
        found = observed_mb_per_s(telemetry, stopped_s(record.data), time_of_s(events, *end))
        if stated is not None and found is not None and abs(stated - found) > _TOLERANCE * found + _TOLERANCE_MB_PER_S:
            return f"{title} is {stated:.4g} MB/s, by the guest's telemetry {found:.4g} MB/s"
    return None


def _stalls(record: Record, telemetry: Telemetry) -> str | None:
    completed_s = time_of_s(record.data["events"], *_COMPLETED)
    if completed_s is None:
        return None
    time_s = telemetry.time_s
    silent_s, observed_s = completed_s + 1.0, time_of_s(record.data["events"], *_OBSERVED)
    span_s = silent_s if observed_s is None else min(silent_s, observed_s)
    for title, name, until_s, bounds in (
        ("stalls", "stalls", completed_s + _LAST_REPORT_S, _counted(time_s, telemetry.stalls, completed_s)),
        ("ms of stalls", "stall_ms", completed_s + _LAST_REPORT_S, _counted(time_s, telemetry.stall_ms, completed_s)),
        ("ms of silence", "longest_gap_ms", silent_s, _longest_gap_ms(time_s, -1.0, span_s)),
    ):
        stated = record.reading("guest_stalls", name)
        if stated is None or bounds is None:
            continue
        least, most = bounds
        # Of what came after the observation, the guest's telemetry says nothing.
        if not least <= stated or (stated > most and time_s[-1] >= until_s):
            return f"the guest has {stated:.6g} {title}, by its telemetry {least:.6g}"
    return None


def _counted(time_s: Values, counts: Values | None, completed_s: float) -> tuple[float, float] | None:
    """Return the least and the most by which ``counts`` grew from the last report before 0 to the last that counts."""
    if counts is None:
        return None
    begin, end = (
        np.searchsorted(time_s, [at - _ROUNDING_S, at + _ROUNDING_S], side="right") - 1
        for at in (0.0, completed_s + _LAST_REPORT_S)
    )
    if begin[0] < 0:
        return None
    # They are rounded to a thousandth.
    return float(counts[end[0]] - counts[begin[1]]) - 0.002, float(counts[end[1]] - counts[begin[0]]) + 0.002


def _longest_gap_ms(time_s: Values, start_s: float, end_s: float) -> tuple[float, float] | None:
    """Return the least and the most that the longest time between two reports in a span can be."""
    least, most = (
        time_s[(time_s >= start_s - margin) & (time_s <= end_s + margin)] for margin in (-_ROUNDING_S, _ROUNDING_S)
    )
    if len(least) < 2:
        return None
    margin_ms = 1000 * _ROUNDING_S
    return 1000 * float(np.diff(least).max()) - margin_ms, 1000 * float(np.diff(most).max()) + margin_ms


def _beyond_samples(stated: float, telemetry: Telemetry) -> str | None:
    """Return that a mean is beyond all of the guest's samples: all that telemetry shows without events."""
    _, samples = throughput_samples(telemetry)
    if not len(samples):
        return None
    least, most = float(samples.min()), float(samples.max())
    if (1 - _TOLERANCE) * least - _TOLERANCE_MB_PER_S <= stated <= (1 + _TOLERANCE) * most + _TOLERANCE_MB_PER_S:
        return None
    return f"throughput is {stated:.4g} MB/s, by the guest's telemetry between {least:.4g} and {most:.4g} MB/s"


def observed_mb_per_s(telemetry: Telemetry, stop_s: float | None, end_s: float | None) -> float | None:
    """Return the guest's rate from its resume, at 0, to ``end_s``; None if the telemetry does not cover that.

    From its last report on the source until ``stop_s``, the guest went on at the rate that it had.
    """
    time_s, pages = telemetry.time_s, telemetry.pages
    if stop_s is None or end_s is None or end_s <= 0 or time_s[-1] < end_s:
        return None
    last = int(np.searchsorted(time_s, stop_s, side="right")) - 1
    after = int(np.searchsorted(time_s, 0.0, side="left"))
    earlier = int(np.searchsorted(time_s, time_s[last], side="left")) - 1
    if earlier < 0 or after == len(time_s):
        return None
    rate = (pages[last] - pages[earlier]) / (time_s[last] - time_s[earlier])
    at_stop = min(float(pages[last] + rate * (stop_s - time_s[last])), float(pages[after]))
    at_end = float(np.interp(end_s, [0.0, *time_s[after:]], [at_stop, *pages[after:]]))
    return (at_end - at_stop) / PAGES_PER_MB / end_s
