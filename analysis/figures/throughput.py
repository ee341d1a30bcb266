# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Throughput over time: Figure 6 with the migration marked, and a single trial with its events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import altair as alt
import pandas as pd

from ..data.telemetry import SAMPLE_S, TELEMETRY_FILE
from ..statistics.curves import Curves, thinned
from .style import Figure, by_method, rows_of, zoom

_TITLE = "Figure 6. Throughput over time"
# More points than a figure is wide would only make the file larger.
_MOST_SAMPLES = 300


def throughput_figure(curves: Curves, methods: Sequence[str], baseline: str | None) -> Figure:
    """Return Figure 6: one panel per method, the migration shaded, the baseline's curve in grey behind.

    ``methods`` are all methods of the scenario; those without a curve are named.
    """
    if not curves.by_method:
        return Figure(_TITLE, f"No valid trial has a usable {TELEMETRY_FILE}.", None)
    samples = {method: thinned(curve.samples, _MOST_SAMPLES) for method, curve in curves.by_method.items()}
    lines = pd.concat([samples[method].round(3).assign(method=method) for method in samples])
    ends = _ends(curves)
    known = bool(ends)
    title = "Time since resume on the destination (s)" if known else "Time since the first sample (s)"
    x = alt.X("time_s:Q", title=title, scale=alt.Scale(nice=False))
    # Room for the labels above the curves.
    scale = alt.Scale(domain=[0, float(lines["high"].max()) * 1.25 or 1.0], nice=False)
    y = alt.Y("mb_per_s:Q", title="Throughput (MB/s)", scale=scale, axis=alt.Axis(tickCount=4))
    layers: list[alt.Chart] = _phases() if known else []
    if baseline in curves.by_method:
        behind = alt.Chart(lines[lines["method"] == baseline].drop(columns="method"))
        behind = behind.mark_line(interpolate="step", color="#B0B0B0", strokeWidth=1, clip=True)
        layers.append(behind.encode(x=x, y=y))
    if max(curve.n for curve in curves.by_method.values()) > 1:
        band = alt.Chart().transform_filter("isValid(datum.mb_per_s)")
        band = band.mark_area(interpolate="step", opacity=0.25, clip=True, aria=False)
        color = by_method(methods).legend(None)
        layers.append(
            band.encode(x=x, y=alt.Y("low:Q", title="Throughput (MB/s)", scale=scale), y2="high:Q", color=color)
        )
    line = alt.Chart().transform_filter("isValid(datum.mb_per_s)")
    line = line.mark_line(interpolate="step", strokeWidth=1.5, clip=True)
    tooltip = [
        alt.Tooltip("method:N"),
        alt.Tooltip("time_s:Q", title="time (s)", format=".2f"),
        alt.Tooltip("mb_per_s:Q", title="throughput (MB/s)", format=".1f"),
        alt.Tooltip("low:Q", title="least", format=".1f"),
        alt.Tooltip("high:Q", title="most", format=".1f"),
    ]
    line = line.encode(x=x, y=y, color=by_method(methods).legend(None), tooltip=tooltip)
    layers.append(line.add_params(zoom("x", "y")))
    data = pd.concat([lines, pd.DataFrame(ends)])
    chart = alt.layer(*layers, data=data, width=680, height=105).facet(row=rows_of("method", methods))
    return Figure(_TITLE, _subtitle(curves, methods, baseline), chart)


def _subtitle(curves: Curves, methods: Sequence[str], baseline: str | None) -> str:
    counts = sorted({curve.n for curve in curves.by_method.values()})
    least, most = counts[0], counts[-1]
    trials = (
        "single trials"
        if most == 1
        else f"medians of {most if least == most else f'{least} to {most}'} trials with their range"
    )
    parts = [curves.workload, trials, f"samples of {SAMPLE_S} s"]
    if len(curves.by_method) > 1 and baseline in curves.by_method:
        parts.append(f"grey line: {baseline}")
    absent = [method for method in methods if method not in curves.by_method]
    return ", ".join(parts) + (f"; no telemetry for {', '.join(absent)}" if absent else "")


def _ends(curves: Curves) -> list[dict[str, object]]:
    """Return when migration ended, one row per method for which that is known."""
    last_s = max(float(curve.samples["time_s"].max()) for curve in curves.by_method.values())
    ends: list[dict[str, object]] = []
    for method, curve in curves.by_method.items():
        if curve.completion_s is not None:
            end_s = round(curve.completion_s, 3)
            label, is_late = f"completed {end_s:.2f} s", end_s > last_s / 2
            # Away from the other label when the migration was short, and from the edge when it was long.
            labels = {"right_label": "" if is_late else label, "left_label": label if is_late else ""}
            ends.append({"method": method, "resume_s": 0.0, "completed_s": end_s, **labels})
    return ends


def _phases() -> list[alt.Chart]:
    """Return the layers that mark the migration from resume to completion."""
    base = alt.Chart().transform_filter("isValid(datum.completed_s)")
    rule = base.mark_rule(strokeDash=[4, 3], color="#444444", clip=True)
    return [
        base.mark_rect(color="#56B4E9", opacity=0.18, clip=True).encode(x="resume_s:Q", x2="completed_s:Q"),
        rule.encode(x="resume_s:Q"),
        rule.encode(x="completed_s:Q"),
        _label(base, "resume_s", "right", alt.value("resume")),
        _label(base, "completed_s", "left", alt.Text("right_label:N")),
        _label(base, "completed_s", "right", alt.Text("left_label:N")),
    ]


def _label(base: alt.Chart, column: str, align: Literal["left", "right"], text: Any) -> alt.Chart:
    away = 4 if align == "left" else -4
    mark: alt.Chart = base.mark_text(align=align, baseline="top", dx=away, dy=3, fontSize=10, color="#444444")
    return mark.encode(x=f"{column}:Q", y=alt.value(0), text=text)


# The web page replaces these with a trial's own: one chart serves all trials.
SAMPLES, EVENTS = "samples", "events"


def trial_figure() -> Figure:
    """Return the chart of a trial, without data of its own.

    The dataset `SAMPLES` has ``time_s`` and ``mb_per_s``, `EVENTS` has ``time_s``, ``host`` and ``event``.
    """
    x = alt.X("time_s:Q", title="Time since resume on the destination (s)", scale=alt.Scale(nice=False))
    samples = alt.Chart(alt.NamedData(SAMPLES)).mark_line(interpolate="step", color="#0072B2", clip=True)
    samples = samples.encode(
        x=x,
        y=alt.Y("mb_per_s:Q", title="Throughput (MB/s)", scale=alt.Scale(zero=True)),
        tooltip=[
            alt.Tooltip("time_s:Q", title="time (s)", format=".2f"),
            alt.Tooltip("mb_per_s:Q", title="throughput (MB/s)", format=".1f"),
        ],
    )
    events = alt.Chart(alt.NamedData(EVENTS)).mark_rule(strokeWidth=2, clip=True)
    hosts = alt.Scale(domain=["source", "destination", "module"], range=["#E69F00", "#009E73", "#444444"])
    events = events.encode(
        x=x,
        color=alt.Color("host:N", scale=hosts, title=None),
        strokeDash=alt.StrokeDash("host:N", title=None, scale=alt.Scale(domain=hosts.domain)),
        tooltip=[
            alt.Tooltip("event:N"),
            alt.Tooltip("host:N"),
            alt.Tooltip("time_s:Q", title="time (s)", format=".4f"),
        ],
    )
    chart = alt.layer(events, samples.add_params(zoom("x", "y")), width=680, height=180)
    return Figure("Throughput and events", "", chart)
