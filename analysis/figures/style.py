# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How figures look: a palette that colour-blind readers can tell apart, and marks that a black-and-white print can.

A `Figure` is one chart; the file for print and the interactive one of the web page are made from it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import altair as alt
import vl_convert

from .converter import VEGA_LITE_VERSION

# Okabe and Ito's palette without its yellow, which is lost on white paper.
_COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
# Fewer than the colours, so that a colour that repeats has another shape.
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")

_CONFIG = {
    "font": "Helvetica, Arial, 'Liberation Sans', sans-serif",
    "background": "white",
    "padding": 10,
    "view": {"continuousWidth": 300, "continuousHeight": 300, "stroke": "#888888"},
    "facet": {"spacing": 16},
    "title": {"anchor": "start", "fontSize": 12},
    "axis": {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal", "gridColor": "#E4E4E4"},
    "legend": {
        "labelFontSize": 12,
        "orient": "bottom",
        "symbolSize": 90,
        "symbolOpacity": 1,
        "columnPadding": 24,
        # Side by side, the legends of colours and of shapes would be wider than the figure.
        "layout": {"bottom": {"anchor": "start", "direction": "vertical"}},
    },
}
# Of a figure that is not laid out anew where it is shown: labels at the left edge and the longest line still fit in a
# font that is a fifth wider.
_PADDING = {"left": 36, "top": 10, "right": 16, "bottom": 10}
_SUBTITLE_CHARACTERS = 116
_HEADING = {"fontSize": 14, "subtitleFontSize": 11, "subtitleColor": "#444444", "offset": 14}

Chart = alt.Chart | alt.LayerChart | alt.FacetChart | alt.HConcatChart


@dataclass(frozen=True)
class Figure:
    """A chart with its heading; ``chart`` is None when there is nothing to draw, and ``subtitle`` says why."""

    title: str
    subtitle: str
    chart: Chart | None

    @cached_property
    def svg(self) -> str:
        """The figure as SVG text, its data inline; needs no network."""
        title = {"text": self.title, "subtitle": textwrap.wrap(self.subtitle, _SUBTITLE_CHARACTERS), **_HEADING}
        spec = {**self._spec, "title": title, "padding": _PADDING}
        return _numbered(vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE_VERSION))

    def spec(self) -> dict[str, Any] | None:
        """Return the chart without its heading as a Vega-Lite specification, which is JSON; None without a chart."""
        return None if self.chart is None else self._spec

    @cached_property
    def _spec(self) -> dict[str, Any]:
        return _spec(self.chart or _blank())


def colours(methods: Sequence[str]) -> list[str]:
    """Return a colour for each method."""
    return [_COLOURS[index % len(_COLOURS)] for index in range(len(methods))]


def shapes(methods: Sequence[str]) -> list[str]:
    """Return a Vega-Lite mark shape for each method."""
    return [_SHAPES[index % len(_SHAPES)] for index in range(len(methods))]


def zoom(*axes: Literal["x", "y"]) -> alt.Parameter:
    """Return a parameter that lets the reader of an interactive chart move and zoom ``axes``.

    The wheel zooms only with Ctrl: without it, it must scroll the page.
    """
    return alt.selection_interval(name="zoom", bind="scales", encodings=list(axes), zoom="wheel![event.ctrlKey]")


def by_method(methods: Sequence[str], shown: Collection[str] | None = None) -> alt.Color:
    """Return the colours of ``methods``, the same in every figure; the legend names those that are ``shown``."""
    return alt.Color("method:N", **_scaled(methods, colours(methods), shown))


def shape_by_method(methods: Sequence[str], shown: Collection[str] | None = None) -> alt.Shape:
    """Return the shapes of ``methods``, as `by_method` does their colours."""
    return alt.Shape("method:N", **_scaled(methods, shapes(methods), shown))


def rows_of(column: str, order: Sequence[str]) -> alt.Row:
    """Return a panel for each value of ``column``, one below the other, its name on top."""
    header = alt.Header(labelOrient="top", labelAnchor="start", labelFontSize=12, labelFontWeight="bold")
    return alt.Row(f"{column}:N", sort=list(order), title=None, header=header)


def _scaled(methods: Sequence[str], marks: list[str], shown: Collection[str] | None) -> dict[str, Any]:
    legend = alt.Legend(labelLimit=300, values=[name for name in methods if shown is None or name in shown])
    scale = alt.Scale(domain=list(methods), range=marks)
    return {"sort": list(methods), "title": None, "scale": scale, "legend": legend}


def _numbered(svg: str) -> str:
    """Number the elements of ``svg`` from 1: the converter counts on from figure to figure."""
    numbers = {name: str(number) for number, name in enumerate(dict.fromkeys(re.findall(r' id="(\w+)"', svg)), start=1)}
    return re.sub(r'( id="|url\(#)(\w+)', lambda match: f"{match[1]}n{numbers.get(match[2], match[2])}", svg)


def _blank() -> alt.Chart:
    chart: alt.Chart = alt.Chart(alt.InlineData([{}])).mark_point(opacity=0)
    return chart.properties(width=640, height=10, view=alt.ViewBackground(stroke=None))


def _spec(chart: Chart) -> dict[str, Any]:
    # Altair's limit of 5000 rows is for notebooks; these charts are files. Vega-Lite checks the specification itself,
    # and Altair's own check and its copy for each setting take most of a report's time.
    with alt.data_transformers.enable("default", max_rows=None):
        return {**_nameable(chart.to_dict(validate=False)), "config": _CONFIG}


def _nameable(spec: Any) -> Any:
    """Mark the name that Vega takes for a property of JavaScript's objects, with a space of no width."""
    if isinstance(spec, dict):
        return {key: _nameable(value) for key, value in spec.items()}
    if isinstance(spec, list):
        return [_nameable(value) for value in spec]
    return "constructor\u200b" if spec == "constructor" else spec
