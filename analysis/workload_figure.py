# SPDX-License-Identifier: GPL-3.0-or-later
"""A metric by workload and method: Figures 3 to 5."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd

from .means import means
from .metrics import Metric
from .style import colours, notice_svg, shapes, to_svg

# From this ratio of the largest to the smallest mean on, a linear axis would press the small ones together.
_LOG_RATIO = 20
_MARK_WIDTH = 21
_LEAST_WIDTH = 360


def workload_figure(trials: pd.DataFrame, methods: Sequence[str], metric: Metric, number: int) -> str:
    """Return Figure ``number`` as SVG text: the mean of ``metric`` with its 95 % interval by working window and method.

    ``trials`` is the table of `table.tidy`; trials whose window is not stated have no place here. Workloads that differ
    in more than their window get a panel each.
    """
    title = f"Figure {number}. {metric.title} by working window"
    sized = trials.dropna(subset=["window_mb"])
    points = means(sized, ["window_mb", "pattern", "work_per_page", "method"], metric.measurement)
    if points.empty:
        return notice_svg(title, f"No valid trial has a {metric.title.lower()}.")
    points["panel"] = [_panel_title(*kind) for kind in zip(points["pattern"], points["work_per_page"], strict=True)]
    points = points.astype({"window_mb": int}).drop(columns=["pattern", "work_per_page"])
    axis = _axis(points)
    panels = [(str(name), _panel(rows, methods, metric, axis)) for name, rows in points.groupby("panel", sort=False)]
    if len(panels) > 1:
        chart = alt.vconcat(*(panel.properties(title=name) for name, panel in panels))
        return to_svg(chart, title, _subtitle(points))
    name, panel = panels[0]
    return to_svg(panel, title, ", ".join(part for part in (name, _subtitle(points)) if part))


def _panel_title(pattern: str, work_per_page: int) -> str:
    parts = [
        "" if pd.isna(pattern) else f"{pattern} walk",
        "" if pd.isna(work_per_page) else f"work {work_per_page} a page",
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
            scale, axis = alt.Scale(zero=True, nice=True), alt.Axis(tickCount=6, format=",~f")
        else:
            powers = range(math.floor(math.log10(self.floor)), math.ceil(math.log10(self.ceiling)) + 1)
            ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
            scale = alt.Scale(type="log", domain=[self.floor, self.ceiling])
            axis = alt.Axis(values=[tick for tick in ticks if self.floor <= tick <= self.ceiling], format=",~f")
        return alt.Y(f"{column}:Q", title=title, scale=scale, axis=axis)


def _axis(points: pd.DataFrame) -> _Axis:
    least, most = points["mean"].min(), points["mean"].max()
    if least <= 0 or most / least < _LOG_RATIO:
        return _Axis(False, 0.0, most)
    # An interval may reach to zero and below, where a log axis has no place.
    floor = max(least / 3, points["low"].fillna(least).clip(upper=least).min()) * 0.8
    return _Axis(True, floor, points["high"].fillna(most).clip(lower=most).max() * 1.25)


def _panel(points: pd.DataFrame, methods: Sequence[str], metric: Metric, axis: _Axis) -> alt.LayerChart:
    windows = sorted(set(points["window_mb"]))
    intervals = points.dropna(subset=["low"])
    intervals = intervals.assign(low=intervals["low"].clip(lower=axis.floor))
    title = f"{metric.title} ({metric.unit}{', log scale' if axis.is_log else ''})"
    domain = list(methods)
    place = {
        "x": alt.X(
            "window_mb:O",
            title="Working window (MB)",
            sort=windows,
            axis=alt.Axis(labelAngle=0, tickBand="extent", grid=True),
            scale=alt.Scale(paddingInner=0, paddingOuter=0),
        ),
        "xOffset": alt.XOffset("method:N", sort=domain, scale=alt.Scale(domain=domain, paddingOuter=0.5)),
        "color": alt.Color("method:N", sort=domain, title=None, scale=alt.Scale(domain=domain, range=colours(methods))),
    }
    shape = alt.Shape("method:N", sort=domain, title=None, scale=alt.Scale(domain=domain, range=shapes(methods)))
    rules = alt.Chart(intervals).mark_rule(strokeWidth=1.5).encode(y=axis.y("low", title), y2="high:Q", **place)
    caps = [
        alt.Chart(intervals).mark_tick(thickness=1.5, size=9, opacity=1).encode(y=axis.y(end, title), **place)
        for end in ("low", "high")
    ]
    marks = alt.Chart(points).mark_point(filled=True, size=75, opacity=1)
    width = max(_LEAST_WIDTH, _MARK_WIDTH * len(windows) * len(methods))
    layers = [rules, *caps, marks.encode(y=axis.y("mean", title), shape=shape, **place)]
    return alt.LayerChart(layer=layers, width=width, height=300)
