# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Strata: what one pair of hosts measured of one workload. Methods are compared within them.

Each pair is a block: it runs every method, so that what it adds to all of them alike does not enter a comparison.
Within a workload its pairs have equal weight, and so have the workloads. Where the inventory names no pairs there is
one, and a stratum is a workload.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from .interval import Arm, Values, arm, paired_arm
from .metrics import Metric


class Stratum(NamedTuple):
    """A workload (its label) and a pair (its name, empty where it has none)."""

    workload: str
    pair: str


def values_by_stratum(trials: pd.DataFrame, method: str, metric: Metric) -> dict[Stratum, Values]:
    """Return what was measured of ``metric`` in the trials of ``method``; missing values are left out."""
    of_method = trials[trials["method"] == method].dropna(subset=[metric.measurement])
    groups = of_method.groupby(["workload", "pair"], sort=False)[metric.measurement]
    return {Stratum(str(workload), str(pair)): of.to_numpy(dtype=np.float64) for (workload, pair), of in groups}


def paired_by_stratum(
    before: pd.DataFrame, after: pd.DataFrame, method: str, metric: Metric
) -> tuple[dict[Stratum, Values], dict[Stratum, Values]]:
    """Return what was measured in the trials of ``method`` on two sides, by repeats that both have, in one order.

    A stratum is a workload and the two pairs that measured it. One with a single repeat shows no scatter, and is left
    out where others of its workload have more.
    """
    names = ["workload", "repeat"]
    sides = [
        side[side["method"] == method].dropna(subset=[metric.measurement])[[*names, "pair", metric.measurement]]
        for side in (before, after)
    ]
    both = sides[0].merge(sides[1], on=names, suffixes=("_before", "_after"))
    both["pair"] = (both["pair_before"] + " / " + both["pair_after"]).astype(str)
    sizes = both.groupby(["workload", "pair"])["repeat"].transform("size")
    most = sizes.groupby(both["workload"]).transform("max")
    groups = list(both[(sizes > 1) | (most == 1)].groupby(["workload", "pair"], sort=False))
    one, other = (
        {
            Stratum(str(workload), str(pair)): of[f"{metric.measurement}_{side}"].to_numpy(dtype=np.float64)
            for (workload, pair), of in groups
        }
        for side in ("before", "after")
    )
    return one, other


def workloads_of(strata: Iterable[Stratum]) -> tuple[str, ...]:
    """Return the workloads of ``strata``, each once and in their order."""
    return tuple(dict.fromkeys(stratum.workload for stratum in strata))


def arm_over(
    values: Mapping[Stratum, Values], strata: Sequence[Stratum], base: Mapping[Stratum, Values] | None = None
) -> Arm:
    """Return the arm of a method's ``values`` over ``strata``.

    :param base: what it is compared with, if their repeats are paired (see `paired_by_stratum`)
    """
    pairs = Counter(stratum.workload for stratum in strata)
    groups, weights = [values[stratum] for stratum in strata], [1 / pairs[stratum.workload] for stratum in strata]
    if base is None:
        return arm(groups, weights)
    return paired_arm([base[stratum] for stratum in strata], groups, weights)
