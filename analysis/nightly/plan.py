# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How many repeats a night needs, by how much trials and nights were seen to scatter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...plugins.plugin_utils._records.errors import InputError
from . import BASELINE_NIGHTS
from .metrics import BY_NAME
from .nights import Night
from .scatter import Scatter, critical, margin, scatter, visible
from .verdict import Baseline, samples, shared_keys

# What scenarios allow.
_MOST_REPEATS = 1000


@dataclass(frozen=True)
class Need:
    """What a metric that decides needs in a cell; scatter is a standard deviation, in percent.

    :ivar between: scatter between nights that repeats do not remove; None: not known from a single night
    :ivar visible: the least loss that nights with as many repeats as now see nine times in ten, %
    :ivar repeats: trials per night that the wished threshold needs, at least if ``between`` is None; None: no number
        of them suffices
    """

    cell: str
    metric: str
    trials: float
    within: float
    between: float | None
    wished: float
    visible: float
    repeats: int | None


@dataclass(frozen=True)
class Plan:
    """What each metric that decides needs; ``nights`` of one kind were looked at."""

    nights: int
    needs: tuple[Need, ...]

    @property
    def repeats(self) -> int | None:
        """The repeats that every metric needs that repeats can help; None if they can help none."""
        return max((need.repeats for need in self.needs if need.repeats is not None), default=None)


def plan(nights: Sequence[Baseline]) -> Plan:
    """Plan for nights like the last of ``nights``, from it and the others of its kind.

    :raises InputError: nothing in them shows how trials scatter
    """
    chosen = [each for each in nights if each.night.kind == nights[-1].night.kind and each.night.measured]
    levels = [each.level for each in chosen]
    if len(levels) == len(set(levels)):  # each has a level of its own, so that they do not show how nights scatter
        chosen, levels = chosen[-1:], levels[-1:]
    alike = [each.night for each in chosen]
    keys = shared_keys(alike, alike[-1].wished) if alike else []
    keys = [(cell, metric) for cell, metric in keys if any(len(night.values[cell][metric]) > 1 for night in alike)]
    if not keys:
        raise InputError("no cell has two valid trials of a metric that decides; run at least two repeats")
    metrics = [metric for _cell, metric in keys]
    found = scatter(samples(alike, keys), levels, metrics) if len(alike) > 1 else _of_one(alike[0], keys)
    found = replace(found, nights=BASELINE_NIGHTS)
    comparisons = len(keys)
    seen = visible(found.error(), found.freedom, comparisons)
    quantile = critical(found.freedom, comparisons) + margin(found.freedom)
    needs = []
    for column, (cell, metric) in enumerate(keys):
        scale, wished = BY_NAME[metric], alike[-1].wished[metric]
        allowed = (scale.loss_of(wished) / float(quantile[column])) ** 2 / (1 + 1 / BASELINE_NIGHTS)
        left = allowed - float(found.between[column])
        repeats = max(2, math.ceil(float(found.within[column]) / left)) if left > 0 else None
        needs.append(
            Need(
                cell,
                metric,
                float(found.repeats[column]),
                100 * math.sqrt(found.within[column]),
                100 * math.sqrt(found.between[column]) if len(alike) > 1 else None,
                wished,
                scale.percent_of(float(seen[column])),
                repeats if repeats is not None and repeats <= _MOST_REPEATS else None,
            )
        )
    return Plan(len(alike), tuple(needs))


def _of_one(night: Night, keys: Sequence[tuple[str, str]]) -> Scatter:
    """Return the scatter of nights like ``night`` if they did not scatter as wholes, which a single one cannot show."""
    one = samples([night], keys)
    counts = one.counts[0].astype(np.float64)
    within = one.variances[0]
    freedom = np.full(len(keys), float(BASELINE_NIGHTS - 1))
    return Scatter(one.means[0], within / counts, freedom, BASELINE_NIGHTS, within, counts - 1, counts)


def as_text(found: Plan) -> str:
    """Return the plan as a table, and what it comes to."""
    head = f"{'cell':<44} {'metric':<22} {'within':>8} {'between':>8} {'wished':>7} {'visible':>8} {'repeats':>8}"
    lines = [f"from {found.nights} night{'s' if found.nights > 1 else ''}; scatter and losses in %", "", head]
    for need in found.needs:
        between = "?" if need.between is None else f"{need.between:.1f}"
        repeats = "none" if need.repeats is None else f"{'>= ' if need.between is None else ''}{need.repeats}"
        lines.append(
            f"{need.cell:<44} {BY_NAME[need.metric].title:<22} {need.within:>8.1f} {between:>8} {need.wished:>7g} "
            f"{need.visible:>8.1f} {repeats:>8}"
        )
    lines.append("")
    if found.repeats is not None:
        lines.append(f"repeats: {found.repeats} would show every wished loss that repeats can show, nine times in ten.")
    hopeless = [need for need in found.needs if need.repeats is None]
    if hopeless:
        lines.append(
            f"In {len(hopeless)} of {len(found.needs)} rows no number of repeats would: nights scatter too much."
            " There the threshold in force is what is visible."
        )
    if found.nights == 1:
        lines.append("One night does not show how much nights scatter: plan again with several.")
    return "\n".join(lines)
