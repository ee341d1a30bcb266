# SPDX-License-Identifier: GPL-3.0-or-later
"""The paper's Figures 3 to 6 as SVG."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from .curves import Curves
from .metrics import METRICS
from .throughput_figure import throughput_figure
from .workload_figure import workload_figure

_BY_WORKLOAD = {"downtime": 3, "total_migration_time": 4, "pages_transferred": 5}


def draw_figures(trials: pd.DataFrame, curves: Curves, methods: Sequence[str]) -> dict[str, str]:
    """Return the four figures, file name -> SVG text; one that has nothing to draw says so.

    ``trials`` (see `table.tidy`) gives Figures 3 to 5, ``curves`` gives Figure 6; ``methods`` sets order and colours.
    """
    drawn = {}
    for metric in METRICS:
        number = _BY_WORKLOAD.get(metric.name)
        if number is not None:
            drawn[f"figure{number}_{metric.name}.svg"] = workload_figure(trials, methods, metric, number)
    return {**drawn, "figure6_throughput.svg": throughput_figure(curves, methods)}
