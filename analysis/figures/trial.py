# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One trial's throughput over time with its events."""

from __future__ import annotations

import altair as alt

from .style import Figure, zoom

# What the web page replaces by a trial's own: one chart serves all trials.
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
