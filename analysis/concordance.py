# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two experiments on unlike machines: do they give the same verdicts, and compatible improvements?

Machines may differ in any millisecond; what must agree is Table 3, which compares methods on one machine. The
interval of the difference between two improvements follows from their own intervals by the method of variance
estimates recovery, at a confidence that holds for all cells together (Bonferroni).

Source: G. Y. Zou and A. Donner, "Construction of confidence limits about effect measures: a general approach",
Statistics in Medicine 27 (2008) 1693-1702.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..plugins.plugin_utils._records.errors import InputError
from ..plugins.plugin_utils._records.records import Experiment
from .comparison import ALPHA, likeness, notes
from .data.checked import read_one_stack
from .data.likeness import ALLOWABLE
from .data.roles import BASELINE, baseline_of, roles
from .data.table import tidy
from .statistics.interval import CONFIDENCE, Arm, Estimate
from .statistics.metrics import METRICS, Metric
from .statistics.strata import arm_over, values_by_stratum, workloads_of
from .statistics.table3 import estimate_of

# A difference that is certain, but this small, is none: some counts hardly scatter, and no two machines are alike.
NEGLIGIBLE_POINTS = 5.0

Agreement = Literal["agree", "compatible", "contradict", "differ", "too few trials"]


@dataclass(frozen=True)
class Pair:
    """One cell of Table 3 on both machines; all numbers are percentage points, ``low`` and ``high`` of the difference.

    :ivar first: the improvement on the first machine, with its own 95 % interval
    :ivar difference: second minus first; None is missing
    :ivar agreement: "agree" is the same verdict and compatible improvements; "compatible" if a verdict is not shown
    """

    method: str
    metric: str
    first: Estimate
    second: Estimate
    difference: float | None
    low: float | None
    high: float | None
    agreement: Agreement


@dataclass(frozen=True)
class Concordance:
    """Two experiments held against each other; all texts are printable.

    :ivar obstacles: why nothing could be compared, in which case ``pairs`` is empty
    :ivar unlike: how the machines differ
    """

    first: Experiment
    second: Experiment
    pairs: tuple[Pair, ...]
    obstacles: tuple[str, ...]
    unlike: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def outcome(self) -> tuple[str, int]:
        """What to say of all cells, and the exit status: those of ``compare``."""
        found = {pair.agreement for pair in self.pairs}
        if found & {"contradict", "differ"}:
            return "the machines disagree", 10
        if not found or "too few trials" in found:
            return "too few or unlike samples", 12
        return (
            ("the machines agree", 0) if "agree" in found else ("too noisy: no verdict is shown on both machines", 11)
        )


def agree(first_directory: Path, second_directory: Path, allow: Collection[str] = ()) -> Concordance:
    """Hold two experiments of one scenario against each other.

    :param allow: "scenario" if that may differ, too; methods are paired by name, and so are workloads
    :raises InputError: a directory holds no readable experiment, or both are the same one
    """
    if first_directory.resolve() == second_directory.resolve():
        raise InputError(f"{second_directory}: given twice; give two different experiments")
    first, second = read_one_stack(first_directory), read_one_stack(second_directory)
    obstacles, unlike = likeness(first, second, {*ALLOWABLE} - {"scenario"} | {*allow})
    pairs = () if obstacles else _pairs(first, second)
    if not obstacles and not pairs:
        obstacles = (f"no method has valid trials beside those of {BASELINE} on both machines",)
    return Concordance(
        first, second, pairs, obstacles, unlike, notes({"the first experiment": first, "the second experiment": second})
    )


def _pairs(first: Experiment, second: Experiment) -> tuple[Pair, ...]:
    # Methods of one name are the same unless the user allows them to differ.
    baseline = baseline_of(roles(first.scenario["methods"]))
    if baseline is None:
        return ()
    machines = [(frame := tidy(experiment))[frame["valid"]] for experiment in (first, second)]
    cells = []
    for method in (name for name in first.methods if name in second.methods and name != baseline):
        for metric in METRICS:
            # Each machine has pairs of its own, if any.
            sides = [[values_by_stratum(trials, name, metric) for name in (baseline, method)] for trials in machines]
            own = [[stratum for stratum in base if stratum in new] for base, new in sides]
            shared = {*workloads_of(own[0])} & {*workloads_of(own[1])}
            if shared:
                strata = [[stratum for stratum in each if stratum.workload in shared] for each in own]
                one, other = (
                    (arm_over(base, over), arm_over(new, over)) for (base, new), over in zip(sides, strata, strict=True)
                )
                cells.append((method, metric, one, other))
    return tuple(_pair(*cell, confidence=1 - ALPHA / len(cells)) for cell in cells)


def _pair(
    method: str, metric: Metric, one: tuple[Arm, Arm], other: tuple[Arm, Arm], confidence: float = CONFIDENCE
) -> Pair:
    """Compare two machines, given as baseline and method, in one cell; the confidence is that of the difference."""
    first, second = estimate_of(*one, metric), estimate_of(*other, metric)
    wide_first, wide_second = (estimate_of(*side, metric, confidence=confidence) for side in (one, other))
    if first.pct is None or second.pct is None:
        return Pair(method, metric.name, first, second, None, None, None, "too few trials")
    difference = second.pct - first.pct
    reach_first, reach_second = _reach(wide_first), _reach(wide_second)
    if reach_first is None or reach_second is None:
        return Pair(method, metric.name, first, second, difference, None, None, "too few trials")
    low = difference - math.hypot(reach_second[0], reach_first[1])
    high = difference + math.hypot(reach_second[1], reach_first[0])
    return Pair(method, metric.name, first, second, difference, low, high, _judge(first, second, low, high))


def _reach(of: Estimate) -> tuple[float, float] | None:
    """How far an interval reaches below its estimate, and above."""
    if of.pct is None or of.low is None or of.high is None:
        return None
    return of.pct - of.low, of.high - of.pct


def _judge(first: Estimate, second: Estimate, low: float, high: float) -> Agreement:
    verdicts = {first.verdict, second.verdict}
    if verdicts == {"improvement", "worse"}:
        return "contradict"
    if (low > 0 or high < 0) and max(-low, high) > NEGLIGIBLE_POINTS:
        return "differ"
    return "agree" if len(verdicts) == 1 and "no difference shown" not in verdicts else "compatible"
