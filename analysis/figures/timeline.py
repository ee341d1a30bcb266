# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The page requests of one trial a method, each a point: guest memory against time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from ..data.requests import Places
from ..statistics.requests_heatmap import PAGES_PER_MB
from .style import Figure, by_method, rows_of, zoom

_TITLE = "Timeline of page requests"
# A panel has about so many places that the eye can tell apart.
_MOST_POINTS = 1000


def timeline_figure(traces: Mapping[str, Places], methods: Sequence[str], memory_mb: float, what: str) -> Figure:
    """Return a panel a method with a point a request, evenly thinned where there are too many.

    ``traces`` are those of one trial a method, ``memory_mb`` is the guest's memory, ``what`` names the trials.
    """
    traces = {method: places for method, places in traces.items() if len(places.page)}
    if not traces:
        return Figure(_TITLE, "No valid trial has a usable request trace.", None)
    steps = {method: -(-len(places.page) // _MOST_POINTS) for method, places in traces.items()}
    data = pd.concat([_points(places, steps[method]).assign(method=method) for method, places in traces.items()])
    chart = (
        alt.Chart()
        .transform_calculate(memory_mb=f"datum.page / {PAGES_PER_MB}")
        .mark_square(size=5, opacity=0.8, clip=True, aria=False)
        .encode(
            x=alt.X("time_s:Q", title="Time since resume on the destination (s)", scale=alt.Scale(nice=False)),
            y=alt.Y(
                "memory_mb:Q",
                title="Guest memory (MB)",
                scale=alt.Scale(domain=[0, memory_mb], nice=False),
                axis=alt.Axis(tickCount=4),
            ),
            color=by_method(methods).legend(None),
            tooltip=[
                alt.Tooltip("method:N"),
                alt.Tooltip("time_s:Q", title="time (s)", format=".4f"),
                alt.Tooltip("page:Q", title="page", format=","),
            ],
        )
        .add_params(zoom("x", "y"))
        .properties(width=680, height=150)
        .facet(data=data, row=rows_of("method", methods))
    )
    thinned = f"; evenly thinned to at most {_MOST_POINTS:,} a method" if max(steps.values()) > 1 else ""
    return Figure(_TITLE, what + thinned, chart)


def _points(places: Places, step: int) -> pd.DataFrame:
    return pd.DataFrame({"time_s": places.time_s[::step].round(4), "page": places.page[::step]})
