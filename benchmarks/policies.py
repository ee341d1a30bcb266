# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A comparison of prefetch policies: an experiment with ``policies.yml`` as one table and one figure."""

from __future__ import annotations

from pathlib import Path

import altair as alt
import pandas as pd

from ansible_collections.vcsp.testbed.analysis.data.table import tidy
from ansible_collections.vcsp.testbed.analysis.figures.style import Figure, colours, shapes
from ansible_collections.vcsp.testbed.analysis.presentation.wording import progress
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import read_experiment

from . import report

EXPERIMENT = "ansible-playbook experiment.yml -e scenario=benchmarks/policies.yml"
POLICIES = ("fixed", "around", "readahead")
PATTERNS = ("sequential", "random")
METRICS = {"page_requests": "Page requests", "page_wait_ms": "Page wait (ms)"}
CELLS = [(pattern, metric) for pattern in PATTERNS for metric in METRICS]
FIGURE = "policies.svg"


def results(directory: Path) -> dict[str, str]:
    """Return the table and the figure of an experiment, as file name -> text.

    :raises InputError: it is not an experiment, or has no valid trial.
    """
    experiment = read_experiment(directory)
    trials = tidy(experiment)
    trials = trials[trials["valid"]]
    if trials.empty:
        raise InputError(f"{directory}: no valid trial; run {EXPERIMENT}")
    methods = {method["name"]: method for method in experiment.scenario["methods"]}
    points = medians(
        trials.assign(
            policy=[methods[name]["prefetch_policy"] for name in trials["method"]],
            pages=[methods[name]["prefetch_pages"] for name in trials["method"]],
        )
    )
    window = " and ".join(f"{size} MB" for size in sorted(set(trials["window_mb"])))
    provenance = experiment.experiment["provenance"]
    parts = [
        "# Prefetch policies",
        f"Written by `{EXPERIMENT} && python -m benchmarks policies`. "
        f"{report.machine(provenance['destination'], provenance['controller'])}. {progress(experiment)}.",
        f"Demand paging of a window of {window}; medians with their 95 % intervals, which are the whole range up to "
        "five repeats. `fixed` and `around` with one page are plain demand paging. `readahead` starts with the given "
        "number of pages, and doubles it on a stream, up to 128.",
        report.table(
            ["policy, pages a request", *(f"{pattern}: {METRICS[metric].lower()}" for pattern, metric in CELLS)],
            rows(points),
        ),
        f"![Prefetch policies by pages a request]({FIGURE})",
    ]
    return {"POLICIES.md": "\n\n".join(parts) + "\n", FIGURE: figure(points, window)}


def medians(trials: pd.DataFrame) -> pd.DataFrame:
    """Return a row per policy, number of pages, pattern and metric: ``median``, ``low``, ``high``, ``n``."""
    found = [
        {"policy": policy, "pages": pages, "pattern": pattern, "metric": metric, **report.spread(values)._asdict()}
        for (policy, pages, pattern), group in trials.groupby(["policy", "pages", "pattern"])
        for metric in METRICS
        if (values := group[metric].dropna().tolist())
    ]
    points = pd.DataFrame(found)
    # With one page there is nothing before or after it: it starts both curves.
    alone = points[(points["policy"] == "fixed") & (points["pages"] == 1)]
    return pd.concat([points, alone.assign(policy="around")], ignore_index=True)


def rows(points: pd.DataFrame) -> list[list[str]]:
    """Return the lines of the table."""
    texts = {
        (point["policy"], point["pages"], point["pattern"], point["metric"]): report.Spread(
            point["median"], point["low"], point["high"], point["n"]
        ).text()
        for point in points.to_dict("records")
    }
    lines = sorted(
        set(zip(points["policy"], points["pages"], strict=True)), key=lambda line: (POLICIES.index(line[0]), line[1])
    )
    return [
        [f"{policy}, {pages}", *(texts.get((policy, pages, *cell), "-") for cell in CELLS)] for policy, pages in lines
    ]


def figure(points: pd.DataFrame, window: str) -> str:
    """Return the figure as SVG text: a panel per metric and pattern, a curve with intervals per policy."""
    columns = [
        alt.vconcat(*(panel(points, pattern, metric) for metric in METRICS), title=f"{pattern} walk")
        for pattern in PATTERNS
    ]
    subtitle = f"demand paging of {window}; medians with their intervals; vertical axes are logarithmic"
    return Figure("Prefetch policies by pages a request", subtitle, alt.hconcat(*columns)).svg


def panel(points: pd.DataFrame, pattern: str, metric: str) -> alt.LayerChart:
    """Return one panel; a metric has the same axis in all of its panels."""
    every = points[points["metric"] == metric]
    domain = list(POLICIES)
    scale = alt.Scale(type="log", domain=[every["low"].min() * 0.9, every["high"].max() * 1.1], nice=False)
    y, low = (
        alt.Y(f"{column}:Q", title=METRICS[metric], scale=scale, axis=alt.Axis(format="~s"))
        for column in ("median", "low")
    )
    place = {
        "x": alt.X("pages:O", title="Pages a request", axis=alt.Axis(labelAngle=0)),
        "xOffset": alt.XOffset("policy:N", sort=domain, scale=alt.Scale(domain=domain, paddingOuter=1)),
        "color": alt.Color("policy:N", title=None, scale=alt.Scale(domain=domain, range=colours(domain))),
    }
    shape = alt.Shape("policy:N", title=None, scale=alt.Scale(domain=domain, range=shapes(domain)))
    base = alt.Chart(every[every["pattern"] == pattern])
    layers = [
        base.mark_line(strokeWidth=1, opacity=0.5).encode(y=y, **place),
        base.mark_rule(strokeWidth=1.5).encode(y=low, y2="high:Q", **place),
        base.mark_point(filled=True, size=55, opacity=1).encode(y=y, shape=shape, **place),
    ]
    return alt.LayerChart(layer=layers, width=330, height=230)
