# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The verdict on a night, from what it measured and the accepted nights before it; nothing is drawn at random.

A night is **failed** if a trial was lost, was not measured, or failed its memory check; otherwise **learning** while
there are not enough nights to hold it against; otherwise a **regression** if a metric that decides has become worse
in a cell, by more than chance and by the threshold in force; otherwise **insensitive** if it would not have seen a
metric become twice as bad in most cells; otherwise **ok**. The threshold in force is the one wished for, or, if
larger, the least that is seen with the stated power (see ``scatter``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import fdtrc

from ..statistics.interval import Values, t_quantile
from . import BASELINE_NIGHTS, Outcome
from .metrics import BY_NAME
from .nights import Night
from .scatter import ALPHA, Samples, Scatter, critical, red_line, scatter, visible

# Three nights in a row that see nothing are as bad as none.
MOST_INSENSITIVE = 3
_TWICE_AS_BAD = math.log(2)


@dataclass(frozen=True)
class Finding:
    """A metric in a cell, beside the nights before; losses are in percent, positive is worse.

    :ivar value: mean of the trials (geometric), in the unit of the measurement, as is ``expected``
    :ivar low: lower end of the 95 % interval of ``loss``, as ``high`` is the upper one
    :ivar wished: the threshold that the scenario names
    :ivar in_force: the threshold that this night can see
    :ivar blind: whether it would not even see twice as bad a value
    :ivar quiet: whether the cell is in quarantine, so that it decides nothing
    """

    cell: str
    metric: str
    value: float
    expected: float
    loss: float
    low: float
    high: float
    wished: float
    in_force: float
    red: bool
    better: bool
    blind: bool
    quiet: bool


@dataclass(frozen=True)
class Baseline:
    """A night that others are held against; ``level`` rises with every accepted change of level."""

    night: Night
    level: int


@dataclass(frozen=True)
class Verdict:
    """What a night means.

    :ivar reasons: why it is no "ok", each a line
    :ivar findings: the metrics that decide, by cell
    :ivar baseline: ids of the nights that it was held against
    :ivar stack: what it ran on, and the last of the baseline did not: title -> (before, now)
    :ivar notes: what else a reader should know
    :ivar sees: whether it would see some loss of every metric that decides
    """

    night: str
    outcome: Outcome
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...]
    baseline: tuple[str, ...]
    stack: Mapping[str, tuple[str, str]]
    notes: tuple[str, ...]
    sees: bool = True

    @property
    def red(self) -> tuple[Finding, ...]:
        """What decided against the night."""
        return tuple(each for each in self.findings if each.red and not each.quiet)

    @property
    def moved(self) -> bool:
        """Whether anything is at another level than before, for better or worse, decisive or not."""
        return any(each.red or each.better for each in self.findings)


def judge(
    night: Night,
    baseline: Sequence[Baseline],
    quiet: Collection[str] = (),
    least_nights: int = BASELINE_NIGHTS,
    insensitive_before: int = 0,
) -> Verdict:
    """Return the verdict on ``night``.

    :param baseline: accepted nights before it, the oldest first; those of another kind are left out
    :param quiet: cells in quarantine
    :param least_nights: with fewer of them, the night is "learning"; with more, the last ones count
    :param insensitive_before: how many nights right before it were insensitive
    """
    alike = [each for each in baseline if each.night.kind == night.kind][-least_nights:]
    stack = stack_changes(baseline[-1].night, night) if baseline else {}
    notes = list(night.notes)
    findings: tuple[Finding, ...] = ()
    levels = len({each.level for each in alike})
    enough = len(alike) >= least_nights and len(alike) > levels
    if enough and night.measured:
        findings, more = _findings(night, alike, quiet)
        notes += more
    quieted = sorted({each.cell for each in findings if each.quiet})
    notes += [f"in quarantine: {', '.join(quieted)}"] if quieted else []
    better = [f"{each.cell}: {BY_NAME[each.metric].title}" for each in findings if each.better]
    notes += [f"better than before: {', '.join(better)}; accept the night to make it the level"] if better else []

    def verdict(outcome: Outcome, reasons: Sequence[str], sees: bool = True) -> Verdict:
        ids = tuple(each.night.id for each in alike)
        return Verdict(night.id, outcome, tuple(reasons), findings, ids, stack, tuple(notes), sees)

    lacking = [
        f"{cell}: {BY_NAME[metric].title} was not measured, but was every night before"
        for cell, metric in (shared_keys([each.night for each in alike], night.wished) if enough else ())
        if not night.values.get(cell, {}).get(metric)
    ]
    if night.failures or lacking or not night.measured:
        return verdict("failed", (*night.failures, *lacking) or ("nothing was measured",))
    if not enough:
        others = len(baseline) - sum(each.night.kind == night.kind for each in baseline)
        changed = f"; {others} others were of another scenario or on other hosts" if others else ""
        return verdict("learning", [f"{len(alike)} of {least_nights} accepted nights to hold it against{changed}"])
    deciding = [each for each in findings if not each.quiet]
    red = [_sentence(each) for each in deciding if each.red]
    if red:
        return verdict("regression", red)
    blind = [reason for metric in night.wished if (reason := _blindness(metric, deciding, alike))]
    if not deciding:
        blind = ["nothing decides: every cell is in quarantine, or measured too seldom"]
    if not blind:
        return verdict("ok", ())
    if insensitive_before + 1 >= MOST_INSENSITIVE:
        return verdict("failed", [f"insensitive for {insensitive_before + 1} nights in a row", *blind], sees=False)
    return verdict("insensitive", blind, sees=False)


def samples(nights: Sequence[Night], keys: Sequence[tuple[str, str]]) -> Samples:
    """Return what ``nights`` measured of ``keys``, pairs of a cell and a metric; all of them have a value."""
    means, variances, counts = (np.empty((len(nights), len(keys))) for _ in range(3))
    for row, night in enumerate(nights):
        for column, (cell, metric) in enumerate(keys):
            losses = BY_NAME[metric].losses(np.asarray(night.values[cell][metric], dtype=np.float64))
            means[row, column], counts[row, column] = losses.mean(), len(losses)
            variances[row, column] = losses.var(ddof=1) if len(losses) > 1 else np.nan
    return Samples(means, variances, counts.astype(np.int64))


def shared_keys(nights: Sequence[Night], wished: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return the pairs of a cell and a metric that decides of which every one of ``nights`` has a value."""
    return [
        (cell, metric)
        for metric in wished
        for cell in nights[-1].values
        if all(night.values.get(cell, {}).get(metric) for night in nights)
    ]


def _findings(
    night: Night, baseline: Sequence[Baseline], quiet: Collection[str]
) -> tuple[tuple[Finding, ...], list[str]]:
    nights = [each.night for each in baseline]
    keys = shared_keys([*nights, night], night.wished)
    some = {
        (cell, metric)
        for each in (*nights, night)
        for cell, metrics in each.values.items()
        for metric, values in metrics.items()
        if values and metric in night.wished
    }
    left_out = [f"{cell}: {BY_NAME[metric].title}" for cell, metric in sorted(some - set(keys))]
    notes = [f"decides nothing, because some of the nights lack it: {', '.join(left_out[:10])}"] if left_out else []
    absent = [BY_NAME[metric].title for metric in night.wished if metric not in {metric for _cell, metric in some}]
    notes += [f"decides nothing, because no night measured it: {', '.join(absent)}"] if absent else []
    if not keys:
        return (), notes
    found = scatter(samples(nights, keys), [each.level for each in baseline], [metric for _cell, metric in keys])
    tonight = samples([night], keys)
    comparisons = len(keys)
    error = found.error(_variance_tonight(found, tonight))
    wished = np.array([BY_NAME[metric].loss_of(night.wished[metric]) for _cell, metric in keys])
    in_force = np.maximum(wished, visible(error, found.freedom, comparisons))
    line = red_line(in_force, error, found.freedom, comparisons)
    loss = tonight.means[0] - found.expected
    half = t_quantile(found.freedom) * error
    chance = critical(found.freedom, comparisons) * error
    findings = []
    for column, (cell, metric) in enumerate(keys):
        scale = BY_NAME[metric]
        low, middle, high, force = (
            scale.percent_of(float(each[column])) for each in (loss - half, loss, loss + half, in_force)
        )
        findings.append(
            Finding(
                cell,
                metric,
                scale.value(float(tonight.means[0, column])),
                scale.value(float(found.expected[column])),
                middle,
                low,
                high,
                night.wished[metric],
                force,
                red=bool(loss[column] > line[column]),
                better=bool(-loss[column] > max(chance[column], wished[column])),
                blind=bool(in_force[column] > max(_TWICE_AS_BAD, 2 * wished[column])),
                quiet=cell in quiet,
            )
        )
    return tuple(findings), notes


def _variance_tonight(found: Scatter, tonight: Samples) -> Values:
    """Return the variance of this night's means: with its own number of trials, and its own scatter if that is larger.

    Its scatter counts as larger where it is so by more than chance.
    """
    counts = tonight.counts[0]
    usual = np.nan_to_num(found.within)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = tonight.variances[0] / found.within
        larger = fdtrc(np.maximum(counts - 1, 1), found.within_freedom, ratio) < ALPHA / len(counts)
    within = np.where(larger, tonight.variances[0], usual)
    least = found.variance * np.minimum(1, found.repeats / counts)
    variance: Values = np.maximum(found.variance + within / counts - usual / found.repeats, least)
    return variance


def _sentence(finding: Finding) -> str:
    metric = BY_NAME[finding.metric]
    return (
        f"{finding.cell}: {metric.title} {finding.value:.4g} {metric.unit} instead of {finding.expected:.4g}, "
        f"{finding.loss:.0f} % {'lower' if metric.higher_is_better else 'higher'} "
        f"[{finding.low:.0f}, {finding.high:.0f}]"
    )


def _blindness(metric: str, deciding: Sequence[Finding], baseline: Sequence[Baseline]) -> str | None:
    """Return why the night sees nothing of ``metric``, and what would help; None if it does."""
    of_metric = [each for each in deciding if each.metric == metric]
    blind = [each for each in of_metric if each.blind]
    if 2 * len(blind) <= len(of_metric):
        return None
    nights = [each.night for each in baseline]
    keys = [(each.cell, metric) for each in blind]
    found = scatter(samples(nights, keys), [each.level for each in baseline], [metric] * len(keys))
    least = min(each.in_force for each in of_metric)
    return f"{BY_NAME[metric].title}: a loss below {least:.0f} % would not be seen in any cell; {_help(found)}"


def _help(found: Scatter) -> str:
    """Say whether more repeats, more nights or quieter hosts would help."""
    if np.median(np.nan_to_num(found.within) / found.repeats / found.variance) > 0.5:
        return "trials of one night scatter most: more repeats would help"
    if found.nights < BASELINE_NIGHTS:
        return f"the level is known from {found.nights} nights only: more nights would help"
    return "nights scatter most: quieter hosts would help, more repeats would not"


def stack_changes(before: Night, now: Night) -> dict[str, tuple[str, str]]:
    """Return how the stack of ``now`` differs from that of ``before``: title -> both values."""
    titles = dict.fromkeys((*before.stack, *now.stack))
    pairs = {title: (before.stack.get(title, "not stated"), now.stack.get(title, "not stated")) for title in titles}
    return {title: pair for title, pair in pairs.items() if not _same(*pair)}


def _same(before: str, now: str) -> bool:
    """Tell whether two values are the same; of what was measured, whether they are within 5 %."""
    found = [re.fullmatch(r"([0-9.e+]+) Mbit/s", value) for value in (before, now)]
    if found[0] is None or found[1] is None:
        return before == now
    return math.isclose(float(found[0][1]), float(found[1][1]), rel_tol=0.05)


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict in plain types, numbers to six digits, so that it is the same on every machine."""
    findings = [
        {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in vars(each).items()}
        for each in verdict.findings
    ]
    return {
        "night": verdict.night,
        "verdict": verdict.outcome,
        "reasons": list(verdict.reasons),
        "baseline": list(verdict.baseline),
        "stack": {title: list(values) for title, values in verdict.stack.items()},
        "notes": list(verdict.notes),
        "findings": findings,
    }
