# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the instruments agree: how long the guest waited for pages, as each of them saw it."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from ..statistics.agreement import INSTRUMENTS
from .style import Figure, by_method, zoom

_TITLE = "Agreement of the instruments on the page wait"


def instruments_figure(readings: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """Return the guest's stalls and QEMU's blocktime (ms) against schedstat's page wait, one point per valid trial.

    ``readings`` is the table of `agreement.instrument_readings`; what is missing or 0 has no place on log axes.
    """
    points = readings.melt(
        id_vars=["trial_id", "workload", "method", "page_wait_ms"],
        value_vars=list(INSTRUMENTS),
        var_name="instrument",
        value_name="other_ms",
    )
    points = points[(points["page_wait_ms"] > 0) & (points["other_ms"] > 0)].round(2)
    points = points.assign(instrument=points["instrument"].map(INSTRUMENTS))
    if points.empty:
        return Figure(_TITLE, "No valid trial has a page wait and another instrument to compare it with.", None)
    least = float(points[["page_wait_ms", "other_ms"]].min().min())
    most = float(points[["page_wait_ms", "other_ms"]].max().max())
    domain = [max(1.0, least * 0.8), most * 1.25]
    scale = alt.Scale(type="log", domain=domain, nice=False)
    axis = alt.Axis(format=",~f", tickCount=5)
    equal = (
        alt.Chart(pd.DataFrame({"at": domain}))
        .mark_line(color="#666666", strokeDash=[4, 3], clip=True)
        .encode(x=alt.X("at:Q"), y=alt.Y("at:Q"))
    )
    marks = (
        alt.Chart(points)
        .mark_point(filled=False, size=45, strokeWidth=1.4, opacity=0.9, clip=True)
        .encode(
            x=alt.X("page_wait_ms:Q", title="Page wait by schedstat (ms, log scale)", scale=scale, axis=axis),
            y=alt.Y("other_ms:Q", title="By the other instrument (ms, log scale)", scale=scale, axis=axis),
            color=by_method(methods),
            shape=alt.Shape(
                "instrument:N",
                title=None,
                scale=alt.Scale(domain=list(INSTRUMENTS.values()), range=["circle", "cross"]),
                legend=alt.Legend(labelLimit=300),
            ),
            tooltip=[
                alt.Tooltip("trial_id:N", title="trial"),
                alt.Tooltip("instrument:N"),
                alt.Tooltip("page_wait_ms:Q", title="page wait (ms)", format=",.1f"),
                alt.Tooltip("other_ms:Q", title="by the instrument (ms)", format=",.1f"),
            ],
        )
        .add_params(zoom("x", "y"))
    )
    chart = alt.layer(equal, marks, width=680, height=400)
    trials = points["trial_id"].nunique()
    return Figure(_TITLE, f"{trials} valid trials; on the dashed line, both agree", chart)
