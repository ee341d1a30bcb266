# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A metric by workload and method: Figures 3 to 5, and others of that form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd

from ..data.table import WORKLOAD_COLUMNS
from ..statistics.interval import means
from ..statistics.metrics import Metric
from .style import Figure, by_method, rows_of, shape_by_method, zoom

# From this ratio of the largest to the smallest mean on, a linear axis would squeeze the small ones together.
_LOG_RATIO = 20
_MARK_WIDTH = 21
_LEAST_WIDTH = 680


def workload_figure(trials: pd.DataFrame, methods: Sequence[str], metric: Metric, label: str) -> Figure:
    """Return a figure of the mean of ``metric`` with its 95 % interval by working window and method.

    ``trials`` is the table of `table.tidy`, or one with the metric's measurement added; trials whose window is not
    stated are left out. ``label`` comes before the title, such as "Figure 3. ". Workloads that differ in more than
    their window get separate panels, and so do stacks.
    """
    title = f"{label}{metric.title} by working window"
    sized = trials.dropna(subset=["window_mb"])
    points = means(sized, ["workload", *WORKLOAD_COLUMNS, "stack", "method"], metric.measurement)
    if points.empty:
        return Figure(title, f"No valid trial has a {metric.title.lower()}.", None)
    # An amount is not negative, nor is a share more than all.
    points["low"] = points["low"].clip(lower=0)
    points["high"] = points["high"].clip(upper=100 if metric.unit.startswith("%") else None)
    kinds = points[["stack", *WORKLOAD_COLUMNS[1:]]]
    points["panel"] = [_panel_title(*kind) for kind in kinds.itertuples(index=False)]
    points = points.astype({"window_mb": int}).drop(columns=kinds.columns)
    panels = list(dict.fromkeys(points["panel"]))
    chart: alt.LayerChart | alt.FacetChart = _chart(points, methods, metric)
    if len(panels) > 1:
        return Figure(title, _subtitle(points), chart.facet(row=rows_of("panel", panels)))
    return Figure(title, ", ".join(part for part in (panels[0], _subtitle(points)) if part), chart)


def _panel_title(stack: str, pattern: str, rate_mb_per_s: float, work_per_page: int, writes_percent: int) -> str:
    parts = [
        stack,
        "" if pd.isna(pattern) else f"{pattern} walk",
        "" if pd.isna(rate_mb_per_s) else f"{rate_mb_per_s:g} MB/s",
        "" if pd.isna(work_per_page) else f"work {work_per_page} per page",
        "" if pd.isna(writes_percent) or writes_percent == 100 else f"{writes_percent} % of visits write",
    ]
    return ", ".join(part for part in parts if part)


def _subtitle(points: pd.DataFrame) -> str:
    least, most = points["n"].min(), points["n"].max()
    if most == 1:
        return "single trials, so no intervals"
    trials = f"{least} to {most}" if least != most else f"{most}"
    alone = ", none where there is a single trial" if least == 1 else ""
    return f"means of {trials} trials with 95 % intervals (Student's t{alone})"


@dataclass(frozen=True)
class _Axis:
    """A y axis, the same for all panels; ``floor`` is where an interval that would leave it at the bottom ends."""

    is_log: bool
    floor: float
    ceiling: float

    def y(self, column: str, title: str) -> alt.Y:
        if not self.is_log:
            scale = alt.Scale(domain=[self.floor, self.ceiling], nice=True)
            axis = alt.Axis(tickCount=6, format=",~f")
        else:
            powers = range(math.floor(math.log10(self.floor)), math.ceil(math.log10(self.ceiling)) + 1)
            ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
            scale = alt.Scale(type="log", domain=[self.floor, self.ceiling])
            axis = alt.Axis(values=[tick for tick in ticks if self.floor <= tick <= self.ceiling], format=",~f")
        return alt.Y(f"{column}:Q", title=title, scale=scale, axis=axis)


def _axis(points: pd.DataFrame) -> _Axis:
    least, most = points["mean"].min(), points["mean"].max()
    if least <= 0 or most / least < _LOG_RATIO:
        # An interactive chart cuts off what touches its edge.
        return _Axis(False, min(0.0, least * 1.05), max(0.0, points["high"].fillna(most).max(), most) * 1.05 or 1.0)
    # An interval may reach to zero and below, where a log axis has no place.
    floor = max(least / 3, points["low"].fillna(least).clip(upper=least).min()) * 0.8
    return _Axis(True, floor, points["high"].fillna(most).clip(lower=most).max() * 1.25)


def _chart(points: pd.DataFrame, methods: Sequence[str], metric: Metric) -> alt.LayerChart:
    axis = _axis(points)
    windows = sorted(set(points["window_mb"]))
    # The line of an interval may end early; the tooltip shows the interval itself.
    points = points.assign(end=points["low"].clip(lower=axis.floor))
    title = f"{metric.title} ({metric.unit}{', log scale' if axis.is_log else ''})"
    domain, shown = list(methods), set(points["method"])
    place = {
        "x": alt.X(
            "window_mb:O",
            title="Working window (MB)",
            sort=windows,
            axis=alt.Axis(labelAngle=0, tickBand="extent", grid=True),
            scale=alt.Scale(paddingInner=0, paddingOuter=0),
        ),
        "xOffset": alt.XOffset("method:N", sort=domain, scale=alt.Scale(domain=domain, paddingOuter=0.5)),
        "color": by_method(methods, shown),
        "tooltip": [
            alt.Tooltip("method:N"),
            alt.Tooltip("workload:N"),
            alt.Tooltip("mean:Q", title=f"mean ({metric.unit})", format=",.4~g"),
            alt.Tooltip("low:Q", title="95 % interval from", format=",.4~g"),
            alt.Tooltip("high:Q", title="to", format=",.4~g"),
            alt.Tooltip("n:Q", title="trials"),
        ],
    }
    shape = shape_by_method(methods, shown)
    base = alt.Chart()
    several = base.transform_filter("isValid(datum.low)")
    rules = several.mark_rule(strokeWidth=1.5).encode(y=axis.y("end", title), y2="high:Q", **place)
    caps = [
        several.mark_tick(thickness=1.5, size=9, opacity=1).encode(y=axis.y(end, title), **place)
        for end in ("end", "high")
    ]
    marks = base.mark_point(filled=True, size=75, opacity=1).encode(y=axis.y("mean", title), shape=shape, **place)
    width = max(_LEAST_WIDTH, _MARK_WIDTH * len(windows) * len(methods))
    layers = [rules, *caps, marks.add_params(zoom("y"))]
    return alt.LayerChart(layer=layers, data=points, width=width, height=300)
