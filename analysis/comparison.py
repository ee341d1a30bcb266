# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two experiments compared, method by method: has migration become worse?

A method's metric has become worse if two things hold: the difference is significant at 5 % over all comparisons that
decide (Holm's correction), and it is at least as large as the threshold. It has not if its 95 % interval excludes a
loss beyond the threshold; that needs no correction, because all of them must exclude it. Anything else is too noisy to
say. The interval and the test behind it are those of Table 3 (see ``interval``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..plugins.module_utils._method import Method
from ..plugins.plugin_utils._records.errors import InputError
from ..plugins.plugin_utils._records.printable import printable
from ..plugins.plugin_utils._records.records import Experiment, Record, workload_label
from .data.checked import read_one_stack
from .data.likeness import changes, differences
from .data.table import tidy
from .statistics.interval import Values, p_value
from .statistics.metrics import METRICS, Metric
from .statistics.strata import Stratum, arm_over, paired_by_stratum, values_by_stratum
from .statistics.table3 import cell_of

ALPHA = 0.05
# Settings that may differ without making it another measurement.
_FREE_SETTINGS = ("name", "repeats", "seed", "regression")

ChangeVerdict = Literal["regression", "improvement", "no regression", "too noisy", "too few trials"]


@dataclass(frozen=True)
class Change:
    """The change of one metric (its name) of one method, over all workloads if ``workload`` is None.

    :ivar pct: in percent of the baseline experiment, positive if the new one is better; None is missing
    :ivar low: lower end of its own 95 % interval, as ``high`` is the upper one
    :ivar p_adjusted: p-value of no change, corrected for all comparisons of its kind
    :ivar decides: whether the outcome depends on it
    """

    method: str
    metric: str
    workload: str | None
    pct: float | None
    low: float | None
    high: float | None
    p_adjusted: float | None
    n_baseline: int
    n_new: int
    verdict: ChangeVerdict
    decides: bool


@dataclass(frozen=True)
class Outcome:
    """The outcome of a comparison: a name, and the exit status of the command line."""

    name: Literal["no regression", "regression", "too noisy", "too few or unlike samples"]
    exit_status: int


NO_REGRESSION = Outcome("no regression", 0)
REGRESSION = Outcome("regression", 10)
TOO_NOISY = Outcome("too noisy", 11)
NOT_COMPARABLE = Outcome("too few or unlike samples", 12)


@dataclass(frozen=True)
class Comparison:
    """Two experiments compared; all texts are printable.

    :ivar obstacles: why nothing was compared, in which case ``changes`` is empty
    :ivar allowed: what differs, and may
    :ivar notes: what else a reader should know
    """

    baseline: Experiment
    new: Experiment
    threshold_percent: float
    changes: tuple[Change, ...]
    obstacles: tuple[str, ...]
    allowed: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def outcome(self) -> Outcome:
        """The worst finding: a regression, then what could not be compared, then what is too noisy."""
        verdicts = {change.verdict for change in self.changes if change.decides}
        if "regression" in verdicts:
            return REGRESSION
        if self.obstacles or not verdicts or "too few trials" in verdicts:
            return NOT_COMPARABLE
        return TOO_NOISY if "too noisy" in verdicts else NO_REGRESSION

    @property
    def least_threshold_percent(self) -> float | None:
        """The least threshold at which no change that decides would be too noisy; None if none is."""
        lows = [c.low for c in self.changes if c.decides and c.verdict == "too noisy" and c.low is not None]
        return -min(lows) if lows else None


def compare(
    baseline_directory: Path,
    new_directory: Path,
    threshold_percent: float,
    allow: Collection[str] = (),
    each_workload: bool = False,
) -> Comparison:
    """Compare the experiment in ``new_directory`` with that in ``baseline_directory``.

    :param allow: those of `likeness.ALLOWABLE` that may differ
    :param each_workload: whether single workloads decide as well as the means over all; otherwise they only inform
    :raises InputError: a directory holds no readable experiment, or both are the same one
    """
    if baseline_directory.resolve() == new_directory.resolve():
        raise InputError(f"{new_directory}: given twice; give two different experiments")
    baseline, new = read_one_stack(baseline_directory), read_one_stack(new_directory)
    obstacles, allowed = likeness(baseline, new, allow)
    found = () if obstacles else changes_of(baseline, new, threshold_percent, each_workload)
    if not obstacles and not found:
        obstacles = ("no method has a valid measurement in both experiments",)
    remarks = notes({"the baseline experiment": baseline, "the new experiment": new})
    return Comparison(baseline, new, threshold_percent, found, obstacles, allowed, remarks)


def likeness(baseline: Experiment, new: Experiment, allow: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what forbids a comparison, and what differs but is allowed to."""
    valid = {name: _valid(experiment) for name, experiment in (("baseline", baseline), ("new", new))}
    obstacles = [f"the {name} experiment has no valid trial" for name, records in valid.items() if not records]
    for name, records in valid.items():
        obstacles += [f"trials of the {name} experiment are from unlike hosts: {each}" for each in differences(records)]
    if obstacles:
        return tuple(obstacles), ()
    allowed = []
    for factor, text in (*_scenario_changes(baseline.scenario, new.scenario), *_host_changes(*valid.values())):
        if factor in allow:
            allowed.append(text)
        else:
            obstacles.append(f"{text}; if that is what you are comparing, add --allow {factor}")
    return tuple(obstacles), tuple(allowed)


def _valid(experiment: Experiment) -> list[Record]:
    return [record for record in experiment.records if record.valid]


def _host_changes(baseline: Sequence[Record], new: Sequence[Record]) -> list[tuple[str, str]]:
    return [(each.factor, f"{each.what} {_changed(*each.values)}") for each in changes(baseline, new)]


def _changed(before: object, after: object) -> str:
    return f"changed from {before} to {after}"


def _scenario_changes(baseline: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str]]:
    keys = sorted({*baseline, *new} - {*_FREE_SETTINGS, "methods", "workloads"})
    found = [
        f"the scenario's {key} {_changed(baseline.get(key), new.get(key))}"
        for key in keys
        if baseline.get(key) != new.get(key)
    ]
    for kind, before, after in (
        ("method", _methods(baseline), _methods(new)),
        ("workload", _workloads(baseline), _workloads(new)),
    ):
        found += [f"the scenario's {kind} {name} is in one experiment only" for name in sorted({*before} ^ {*after})]
        same = [name for name in before if name in after and before[name] != after[name]]
        found += [f"the scenario's {kind} {name} has different settings" for name in same]
    return [("scenario", printable(text)) for text in found]


def _methods(scenario: Mapping[str, Any]) -> dict[str, Any]:
    # A setting that is newer than an experiment had its default then.
    return {method["name"]: {**asdict(Method()), **method} for method in scenario["methods"]}


def _workloads(scenario: Mapping[str, Any]) -> dict[str, Any]:
    return {workload_label(workload): workload for workload in scenario["workloads"]}


def notes(experiments: Mapping[str, Experiment]) -> tuple[str, ...]:
    """Return what a reader should know of two experiments, given by what they are called."""
    found = []
    for name, experiment in experiments.items():
        invalid = len(experiment.records) - len(_valid(experiment))
        left_out = (invalid, "invalid"), (len(experiment.missing), "missing"), (len(experiment.skipped), "unusable")
        counts = [f"{count} {what}" for count, what in left_out if count]
        if counts:
            found.append(f"left out of {name}: {', '.join(counts)}")
    versions = [_testbed(experiment) for experiment in experiments.values()]
    if versions[0] != versions[1]:
        found.append(f"the testbed {_changed(*versions)}")
    return tuple(found)


def _testbed(experiment: Experiment) -> str:
    """Name the testbed's version and commit, as far as the first record states them."""
    controller: Mapping[str, Any] = next((record.data["provenance"]["controller"] for record in experiment.records), {})
    stated = [str(controller[key]) for key in ("collection", "commit") if controller.get(key) is not None]
    return printable(" ".join(stated) or "not stated", 100)


def changes_of(
    baseline: Experiment, new: Experiment, threshold_percent: float, each_workload: bool, paired: bool = False
) -> tuple[Change, ...]:
    """Return the changes over all workloads, then those of each workload if there are several.

    :param paired: whether a repeat of one was run together with that of the other
    """
    sides = [(frame := tidy(experiment))[frame["valid"]] for experiment in (baseline, new)]
    labels = [label for label in _workloads(baseline.scenario) if label in _workloads(new.scenario)]
    overall, single = [], []
    for method in (name for name in baseline.methods if name in new.methods):
        for metric in METRICS:
            if paired:
                measured: Sequence[Mapping[Stratum, Values]] = paired_by_stratum(sides[0], sides[1], method, metric)
            else:
                measured = [values_by_stratum(side, method, metric) for side in sides]
            before, after = (_of_workloads(values, labels) for values in measured)
            if not before and not after:
                continue
            overall.append(_change(method, metric, None, before, after, True, paired))
            for label in labels if len(labels) > 1 else ():
                one, other = (_of_workloads(values, [label]) for values in measured)
                if one or other:
                    single.append(_change(method, metric, label, one, other, each_workload, paired))
    families = [overall + single] if each_workload else [overall, single]
    return tuple(_judged(change, threshold_percent) for family in families for change in _corrected(family))


def _of_workloads(values: Mapping[Stratum, Values], labels: Sequence[str]) -> dict[Stratum, Values]:
    return {stratum: values[stratum] for label in labels for stratum in values if stratum.workload == label}


def _change(
    method: str,
    metric: Metric,
    workload: str | None,
    before: Mapping[Stratum, Values],
    after: Mapping[Stratum, Values],
    decides: bool,
    paired: bool,
) -> Change:
    """Return a change with an uncorrected p-value, not judged yet."""
    cell = cell_of(before, after, metric, paired)
    p = None
    if cell.baseline.low is not None:
        shared = [stratum for stratum in before if stratum in after]
        p = float(p_value(arm_over(before, shared), arm_over(after, shared, before if paired else None)))
    estimate = cell.baseline
    return Change(
        method,
        metric.name,
        workload,
        estimate.pct,
        estimate.low,
        estimate.high,
        p,
        cell.n_baseline,
        cell.n,
        "too few trials",
        decides,
    )


def _corrected(family: Sequence[Change]) -> list[Change]:
    """Return ``family`` with p-values by Holm's step-down method."""
    p = np.array([np.nan if change.p_adjusted is None else change.p_adjusted for change in family], dtype=np.float64)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN sorts last
    p[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return [
        replace(change, p_adjusted=None if np.isnan(value) else float(value))
        for change, value in zip(family, p, strict=True)
    ]


def _judged(change: Change, threshold_percent: float) -> Change:
    if change.pct is None or change.low is None or change.p_adjusted is None:
        return change
    verdict: ChangeVerdict = "no regression"
    is_shown = change.p_adjusted < ALPHA
    if is_shown and change.pct < 0 and change.pct <= -threshold_percent:
        verdict = "regression"
    elif change.low < -threshold_percent:
        verdict = "too noisy"
    elif is_shown and change.pct > 0:
        verdict = "improvement"
    return replace(change, verdict=verdict)
