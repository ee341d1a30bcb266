# SPDX-License-Identifier: GPL-3.0-or-later
"""How figures look: a palette that colour-blind readers can tell apart, and marks that a black-and-white print can."""

from __future__ import annotations

import io
from collections.abc import Sequence

import altair as alt

# Okabe and Ito's palette without its yellow, which is lost on white paper.
_COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
# Of another length than the palette, so that a colour comes back with another shape.
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")

_FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"


def colours(methods: Sequence[str]) -> list[str]:
    """Return a colour for each method."""
    return [_COLOURS[index % len(_COLOURS)] for index in range(len(methods))]


def shapes(methods: Sequence[str]) -> list[str]:
    """Return a Vega-Lite mark shape for each method."""
    return [_SHAPES[index % len(_SHAPES)] for index in range(len(methods))]


def to_svg(chart: alt.Chart | alt.LayerChart | alt.VConcatChart, title: str, subtitle: str = "") -> str:
    """Return ``chart`` under ``title`` as SVG text, its data inline; needs no network."""
    heading = alt.Title(title, subtitle=subtitle, fontSize=14, subtitleFontSize=11, subtitleColor="#444444", offset=14)
    styled = (
        chart.properties(title=heading)
        .configure(font=_FONT, background="white", padding=10)
        .configure_view(stroke="#888888")
        .configure_title(anchor="start", fontSize=12)
        .configure_axis(labelFontSize=11, titleFontSize=12, titleFontWeight="normal", gridColor="#E4E4E4")
        .configure_legend(labelFontSize=12, orient="bottom", symbolSize=90, symbolOpacity=1, columnPadding=24)
    )
    output = io.StringIO()
    # Altair's limit of 5000 rows is for notebooks; these charts are files.
    with alt.data_transformers.enable("default", max_rows=None):
        styled.save(output, format="svg")
    return output.getvalue()


def notice_svg(title: str, notice: str) -> str:
    """Return a figure that says why there is nothing to draw."""
    data = alt.InlineData([{"notice": notice}])
    chart = alt.Chart(data).mark_text(fontSize=13, color="#444444").encode(text="notice:N")
    return to_svg(chart.properties(width=640, height=120), title)
