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

from .interval import Arm, Values, arm
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


def workloads_of(strata: Iterable[Stratum]) -> tuple[str, ...]:
    """Return the workloads of ``strata``, each once and in their order."""
    return tuple(dict.fromkeys(stratum.workload for stratum in strata))


def arm_over(values: Mapping[Stratum, Values], strata: Sequence[Stratum]) -> Arm:
    """Return the arm of a method's ``values`` over ``strata``."""
    pairs = Counter(stratum.workload for stratum in strata)
    return arm([values[stratum] for stratum in strata], [1 / pairs[stratum.workload] for stratum in strata])
