# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The throughput of each method over time, and when its migration ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...plugins.plugin_utils._records.errors import InputError
from ...plugins.plugin_utils._records.records import Experiment, Record, Skipped
from ..data.telemetry import SAMPLE_S, TELEMETRY_FILE, read_telemetry, throughput_samples


@dataclass(frozen=True)
class Curve:
    """Throughput over time: the median over ``n`` trials of one workload and method.

    :ivar samples: columns ``time_s`` (the middle of the sample), ``mb_per_s``, and ``low`` and ``high``, the least and
        the most of the trials
    :ivar completion_s: median time from resume to completion; None if the trials do not place resume on their clock
    """

    samples: pd.DataFrame
    n: int
    completion_s: float | None


@dataclass(frozen=True)
class Curves:
    """The curves of one workload by method, in the scenario's order.

    :ivar skipped: the trials whose telemetry is not usable
    :ivar others: the curves of the other workloads, the largest first
    """

    workload: str
    by_method: Mapping[str, Curve]
    skipped: tuple[Skipped, ...]
    others: tuple[Curves, ...] = ()


def largest_curves(experiment: Experiment) -> Curves:
    """Return the curves of the largest window among the workloads for which most methods have telemetry.

    Only valid trials count. Without any usable ``telemetry.csv``, ``by_method`` is empty.
    """
    usable: dict[str, dict[str, list[_Trial]]] = defaultdict(lambda: defaultdict(list))
    windows: dict[str, int] = {}
    skipped = []
    for record in experiment.records:
        if not record.valid or not (record.directory / TELEMETRY_FILE).exists():
            continue
        try:
            trial = _read(record)
        except InputError as error:
            skipped.append(Skipped(record.trial_id, f"not in Figure 6: {error}"))
            continue
        usable[record.cell.workload][record.cell.method].append(trial)
        windows[record.cell.workload] = record.data["trial"]["workload"]["window_mb"] or 0
    if not usable:
        return Curves("", {}, tuple(skipped))
    by_workload = [
        Curves(label, {name: _curve(usable[label][name]) for name in experiment.methods if name in usable[label]}, ())
        for label in sorted(usable, key=lambda label: (len(usable[label]), windows[label]), reverse=True)
    ]
    largest, *others = by_workload
    return Curves(largest.workload, largest.by_method, tuple(skipped), tuple(others))


def thinned(samples: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return ``samples`` with neighbours averaged so that at most ``most`` are left."""
    step = -(-len(samples) // most)
    return samples.groupby(np.arange(len(samples)) // step).mean() if step > 1 else samples


def trial_samples(record: Record) -> pd.DataFrame:
    """Return the throughput of one trial over time: ``time_s`` and ``mb_per_s`` as in `Curve`'s samples.

    :raises InputError: the trial has no usable telemetry
    """
    trial = _read(record)
    return _samples(trial.numbers, trial.mb_per_s)


@dataclass(frozen=True)
class _Trial:
    """The samples of a trial: their ``numbers`` and ``mb_per_s``, of equal length."""

    numbers: npt.NDArray[np.int64]
    mb_per_s: npt.NDArray[np.float64]
    completion_s: float | None


def _read(record: Record) -> _Trial:
    numbers, mb_per_s = throughput_samples(read_telemetry(record.directory / TELEMETRY_FILE))
    return _Trial(numbers, mb_per_s, completion_s(record))


def completion_s(record: Record) -> float | None:
    """Return when the migration completed, in seconds from resume; None if the record's clock does not begin there.

    A record that could place an event on the clock knows where resume is: it is the clock's origin.
    """
    events = [event for event in record.data["events"] if event["time_s"] is not None]
    if not events:
        return None
    for event in events:
        where = event["host"], event["name"], event["data"].get("status")
        if where == ("destination", "MIGRATION", "completed"):
            return float(event["time_s"])
    total_s = record.data["measurements"]["total_migration_time_s"]
    return None if total_s is None else float(total_s)


def _curve(trials: Sequence[_Trial]) -> Curve:
    numbers = np.concatenate([trial.numbers for trial in trials])
    groups = pd.Series(np.concatenate([trial.mb_per_s for trial in trials])).groupby(numbers)
    found = groups.agg(["median", "min", "max"])
    completions = [trial.completion_s for trial in trials if trial.completion_s is not None]
    samples = _samples(found.index.to_numpy(), found["median"].to_numpy())
    samples = samples.assign(low=found["min"].to_numpy(), high=found["max"].to_numpy())
    return Curve(samples, len(trials), median(completions) if completions else None)


def _samples(numbers: npt.NDArray[np.int64], mb_per_s: npt.NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame({"time_s": (numbers + 0.5) * SAMPLE_S, "mb_per_s": mb_per_s})
