# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What can decide a night, on the scale on which nights are compared.

A change is a ratio, so values are compared by their logarithms. Some measurements are 0 when all is well, and then any
ratio is noise: to each, an offset is added first, the size below which a change of this metric bothers nobody. Far
above its offset a value is compared by ratio, far below by difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...plugins.plugin_utils._scenario.schema import fill, place_schema
from ..statistics.interval import Values


@dataclass(frozen=True)
class Metric:
    """A metric that can decide a night: its name in a scenario's ``regression``, and its measurement in a record.

    :ivar offset: added before the logarithm, in the unit of the measurement
    """

    name: str
    measurement: str
    title: str
    unit: str
    higher_is_better: bool
    offset: float

    def losses(self, values: Values) -> Values:
        """Return ``values`` on the scale of comparison: a logarithm that grows as things get worse."""
        logarithms: Values = np.log(np.maximum(values, 0) + self.offset)
        return -logarithms if self.higher_is_better else logarithms

    def value(self, loss: float) -> float:
        """Return the value, in the unit of the measurement, at a place on the scale of comparison."""
        return math.exp(-loss if self.higher_is_better else loss) - self.offset

    def loss_of(self, percent: float) -> float:
        """Return how far a loss of ``percent`` reaches on the scale of comparison."""
        return -math.log1p(-percent / 100) if self.higher_is_better else math.log1p(percent / 100)

    def percent_of(self, loss: float) -> float:
        """Return a distance on the scale of comparison in percent; positive is worse."""
        return -100 * math.expm1(-loss) if self.higher_is_better else 100 * math.expm1(loss)


METRICS = (
    Metric("downtime", "downtime_ms", "downtime", "ms", False, 20.0),
    Metric("total_migration_time", "total_migration_time_s", "total migration time", "s", False, 0.05),
    Metric("page_requests", "page_requests", "page requests", "requests", False, 100.0),
    Metric("throughput", "throughput_mb_per_s", "throughput", "MB/s", True, 0.1),
    Metric("stall_loss", "stall_loss_s", "stall loss", "s", False, 0.1),
    Metric("blackout", "stop_and_copy_ms", "blackout", "ms", False, 10.0),
    Metric("sent_kb", "sent_kb", "KB sent", "KB", False, 1024.0),
    Metric("steady_rate", "steady_mb_per_s", "steady rate", "MB/s", True, 0.1),
)
BY_NAME = {metric.name: metric for metric in METRICS}


def wished_percent(scenario: Mapping[str, Any]) -> dict[str, float]:
    """Return what decides by a normalised scenario: the name of a metric -> the loss from which on it does.

    Experiments from before there was such a choice have the defaults.
    """
    filled = fill(place_schema("regression"), dict(scenario.get("regression") or {}))
    return {name: float(percent) for name, percent in filled.items() if percent is not None}
