# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the guest felt: how many of its visits of a page took longer than a time."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from .style import Figure, by_method, rows_of, shape_by_method

_TITLE = "What the guest felt: visits of a page that took longer than a time"


def visits_figure(visits: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """Return the share of the visits that took longer than a time, on log axes, in one panel per workload.

    ``visits`` is the table of `visits.visit_distribution`.
    """
    if visits.empty:
        return Figure(_TITLE, "No valid trial has the times of its guest's visits.", None)
    shown = set(visits["method"])
    chart = (
        alt.Chart()
        .mark_line(interpolate="linear", strokeWidth=1.8, point={"size": 26, "filled": True})
        .encode(
            x=alt.X(
                "took_ms:Q",
                title="Time of a visit (ms, log scale)",
                scale=alt.Scale(type="log", nice=False),
                axis=alt.Axis(format="~g", tickCount=7),
            ),
            y=alt.Y(
                "longer_percent:Q",
                title="Visits that took longer (%, log scale)",
                scale=alt.Scale(type="log", domainMax=100),
                axis=alt.Axis(format="~g", tickCount=6),
            ),
            color=by_method(methods, shown),
            shape=shape_by_method(methods, shown),
            tooltip=[
                alt.Tooltip("method:N"),
                alt.Tooltip("took_ms:Q", title="longer than (ms)", format=",.3~g"),
                alt.Tooltip("longer_percent:Q", title="visits (%)", format=".3~g"),
                alt.Tooltip("visits:Q", title="of so many", format=",d"),
                alt.Tooltip("trials:Q", title="trials"),
            ],
        )
        .properties(width=680, height=240)
        .facet(data=visits, row=rows_of("workload", list(dict.fromkeys(visits["workload"]))))
    )
    return Figure(
        _TITLE,
        "all valid trials, from the switch to the end of the window; by the guest's clock, without the blackout",
        chart,
    )
