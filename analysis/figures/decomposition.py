# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the time of a migration goes, by workload and method."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from ..statistics.decomposition import PARTS, mean_parts
from .style import Figure, rows_of

_TITLE = "Where the time of a migration goes"
# Okabe and Ito's, from dark to light, so that neighbours differ in black-and-white print, too.
_COLOURS = ("#000000", "#D55E00", "#56B4E9", "#BBBBBB", "#009E73")


def decomposition_figure(parts: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """Return one bar per method, as long as a migration took (s), made of its parts, in one panel per workload.

    ``parts`` is the table of `decomposition.time_parts`.
    """
    if parts.empty:
        return Figure(_TITLE, "No valid trial has all parts of its time.", None)
    bars = mean_parts(parts)
    columns, titles = [part.column for part in PARTS], [part.title for part in PARTS]
    bars = bars.assign(order=bars["part"].map(columns.index), seconds=bars["mean"] / 1000)
    color = alt.Color(
        "title:N",
        title=None,
        scale=alt.Scale(domain=titles, range=list(_COLOURS)),
        legend=alt.Legend(labelLimit=300, symbolType="square"),
    )
    chart = (
        alt.Chart()
        .mark_bar(stroke="white", strokeWidth=1, height={"band": 0.75})
        .encode(
            x=alt.X(
                "seconds:Q",
                title="Time from stop on the source to the last page (s)",
                stack="zero",
                axis=alt.Axis(tickCount=8),
            ),
            y=alt.Y("method:N", title=None, sort=list(methods), axis=alt.Axis(labelLimit=170)),
            color=color,
            order=alt.Order("order:Q"),
            tooltip=[
                alt.Tooltip("method:N"),
                alt.Tooltip("title:N", title="part"),
                alt.Tooltip("mean:Q", title="mean (ms)", format=",.1f"),
                alt.Tooltip("low:Q", title="95 % interval from", format=",.1f"),
                alt.Tooltip("high:Q", title="to", format=",.1f"),
                alt.Tooltip("share_percent:Q", title="share (%)", format=".1f"),
                alt.Tooltip("n:Q", title="trials"),
            ],
        )
        .properties(width=680, height=alt.Step(22))
        .facet(data=bars.round(4), row=rows_of("workload", list(dict.fromkeys(bars["workload"]))))
        .resolve_scale(x="independent", y="independent")
    )
    return Figure(
        _TITLE, "means by workload and method, as one virtual CPU sees it; the parts add up to the whole", chart
    )
