# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The page requests of one trial per method over guest memory and time, for traces of any length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import numpy.typing as npt
import pandas as pd

from ..data.requests import Places
from ..statistics.requests import Grid, count_requests
from .style import Figure, rows_of, zoom

_TITLE = "Requested guest memory over time"


def heatmap_figure(traces: Mapping[str, Places], methods: Sequence[str], memory_mb: float, what: str) -> Figure:
    """Return one panel per method: requests by part of guest memory and of time, for traces of any length.

    ``traces`` are those of one trial per method, ``memory_mb`` is the guest's memory, ``what`` names the trials.
    """
    traces = {method: places for method, places in traces.items() if len(places.page)}
    if not traces:
        return Figure(_TITLE, "No valid trial has a usable request trace.", None)
    start_s = min(float(places.time_s.min()) for places in traces.values())
    end_s = max(float(places.time_s.max()) for places in traces.values())
    grid = Grid(start_s, max(end_s, start_s + 1e-3), memory_mb)
    counts = {method: count_requests(places, grid) for method, places in traces.items()}
    data = pd.concat([_cells(counts[method]).assign(method=method) for method in counts])
    chart = (
        alt.Chart()
        # Calculated in the chart, because a row of whole numbers takes half the space in a file.
        .transform_calculate(
            time_s=f"{grid.start_s} + datum.column * {grid.cell_s}",
            memory_mb=f"datum.row * {grid.cell_mb}",
            # A little into the next cell, which is drawn over it: otherwise white hairlines show between cells.
            to_s=f"{grid.start_s} + (datum.column + 1.05) * {grid.cell_s}",
            to_mb=f"(datum.row + 1.05) * {grid.cell_mb}",
        )
        .mark_rect(clip=True, aria=False)
        .encode(
            x=_time_axis(),
            x2="to_s:Q",
            y=_memory_axis(memory_mb),
            y2="to_mb:Q",
            color=alt.Color(
                "requests:Q",
                title="Requests in a cell (log scale)",
                # Light is few, so that paper stays white; lightness alone shows the order.
                scale=alt.Scale(type="log", scheme="viridis", reverse=True),
                legend=alt.Legend(gradientLength=260, titleLimit=260, format=",~g", tickCount=4),
            ),
            tooltip=[
                alt.Tooltip("method:N"),
                alt.Tooltip("time_s:Q", title="from (s)", format=".3f"),
                alt.Tooltip("memory_mb:Q", title="from (MB)", format=".1f"),
                alt.Tooltip("requests:Q", format=","),
            ],
        )
        .add_params(zoom("x", "y"))
        .properties(width=680, height=150)
        .facet(data=data, row=rows_of("method", methods))
    )
    cell = f"cells of {grid.cell_s * 1000:.3g} ms and {grid.cell_mb:.3g} MB"
    total = sum(len(places.page) for places in traces.values())
    return Figure(_TITLE, f"{what}; {total:,} requests in {cell}", chart)


def _cells(counts: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Return a row for each cell that has requests; the others stay white."""
    row, column = np.nonzero(counts)
    return pd.DataFrame({"column": column, "row": row, "requests": counts[row, column]})


def _time_axis() -> alt.X:
    return alt.X("time_s:Q", title="Time since resume on the destination (s)", scale=alt.Scale(nice=False))


def _memory_axis(memory_mb: float) -> alt.Y:
    scale = alt.Scale(domain=[0, memory_mb], nice=False)
    return alt.Y("memory_mb:Q", title="Guest memory (MB)", scale=scale, axis=alt.Axis(tickCount=4))
