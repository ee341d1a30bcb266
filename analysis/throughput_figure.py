# SPDX-License-Identifier: GPL-3.0-or-later
"""Throughput over time with the migration marked: Figure 6."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import altair as alt
import pandas as pd

from .curves import Curve, Curves
from .style import colours, notice_svg, to_svg
from .table3 import BASELINE
from .telemetry import SAMPLE_S, TELEMETRY_FILE

_TITLE = "Figure 6. Throughput over time"


def throughput_figure(curves: Curves, methods: Sequence[str]) -> str:
    """Return Figure 6 as SVG text: a panel a method, the migration shaded, the baseline's curve in grey behind.

    ``methods`` are all methods of the scenario; those without a curve are named.
    """
    if not curves.by_method:
        return notice_svg(_TITLE, f"No valid trial has a usable {TELEMETRY_FILE}.")
    colour = dict(zip(methods, colours(methods), strict=True))
    last = list(curves.by_method)[-1]
    panels = [
        _panel(
            method,
            curve,
            None if method == BASELINE else curves.by_method.get(BASELINE),
            colour[method],
            method == last,
        )
        for method, curve in curves.by_method.items()
    ]
    chart = alt.vconcat(*panels, spacing=14).resolve_scale(x="shared", y="shared")
    return to_svg(chart, _TITLE, _subtitle(curves, methods))


def _subtitle(curves: Curves, methods: Sequence[str]) -> str:
    counts = sorted({curve.n for curve in curves.by_method.values()})
    least, most = counts[0], counts[-1]
    trials = "single trials" if most == 1 else f"medians of {most if least == most else f'{least} to {most}'} trials"
    parts = [curves.workload, trials, f"samples of {SAMPLE_S} s"]
    if len(curves.by_method) > 1 and BASELINE in curves.by_method:
        parts.append(f"grey line: {BASELINE}")
    absent = [method for method in methods if method not in curves.by_method]
    return ", ".join(parts) + (f"; no telemetry of {', '.join(absent)}" if absent else "")


def _panel(method: str, curve: Curve, baseline: Curve | None, colour: str, is_last: bool) -> alt.LayerChart:
    known = curve.completion_s is not None
    title = "Time since resume on the destination (s)" if known else "Time since the first sample (s)"
    x = alt.X("time_s:Q", title=title if is_last else None, scale=alt.Scale(nice=False))
    y = alt.Y("mb_per_s:Q", title="Throughput (MB/s)", scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=4))
    layers = _phase(curve.completion_s) if curve.completion_s is not None else []
    if baseline is not None:
        layers.append(_line(baseline.samples, x, y, "#B8B8B8", 1.0))
    layers.append(_line(curve.samples, x, y, colour, 1.5))
    return alt.LayerChart(layer=layers, width=680, height=105, title=alt.Title(method, fontSize=12, offset=4))


def _line(samples: pd.DataFrame, x: alt.X, y: alt.Y, colour: str, width: float) -> alt.Chart:
    line: alt.Chart = alt.Chart(samples.round(4)).mark_line(interpolate="step", color=colour, strokeWidth=width)
    return line.encode(x=x, y=y)


def _phase(completion_s: float) -> list[alt.Chart]:
    """Return the layers that mark a migration from resume at 0 to ``completion_s``."""
    span = alt.InlineData([{"from": 0, "to": completion_s}])
    shade = alt.Chart(span).mark_rect(color="#56B4E9", opacity=0.18).encode(x="from:Q", x2="to:Q")
    # The labels point away from each other, so that a short migration does not print one over the other.
    return [shade, *_end(0.0, "resume", "right"), *_end(completion_s, f"completed {completion_s:.2f} s", "left")]


def _end(at_s: float, text: str, align: Literal["left", "right"]) -> list[alt.Chart]:
    end = alt.Chart(alt.InlineData([{"at": at_s, "text": text}])).encode(x="at:Q")
    label = end.mark_text(align=align, baseline="bottom", dy=-3, fontSize=10, color="#444444")
    return [end.mark_rule(strokeDash=[4, 3], color="#444444"), label.encode(y=alt.value(0), text="text:N")]
