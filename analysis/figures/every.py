# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""All figures of a report: the paper's Figures 3 to 6, and those that say why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...plugins.plugin_utils._records.records import Skipped
from ..data.requests import typical_traces
from ..data.roles import baseline_of
from ..statistics.agreement import instrument_readings
from ..statistics.metrics import METRICS
from ..statistics.requests import ACCURACY, prefetch_accuracies
from ..statistics.visits import visit_distribution
from ..summary import Summary
from .agreement import instruments_figure
from .decomposition import decomposition_figure
from .requests import heatmap_figure
from .style import Figure
from .throughput import throughput_figure
from .visits import visits_figure
from .workloads import workload_figure

_THROUGHPUT_FILE = "figure6_throughput.svg"
_HEATMAP_FILE = "request_heatmap.svg"
_BY_WORKLOAD = {"downtime": 3, "total_migration_time": 4, "pages_transferred": 5}


@dataclass(frozen=True)
class Figures:
    """The figures of a report.

    :ivar by_file: file name -> figure
    :ivar by_workload: file name -> workload -> figure, for those that show one workload; that of the file comes first
    :ivar skipped: the trials whose request trace is not usable
    """

    by_file: Mapping[str, Figure]
    by_workload: Mapping[str, Mapping[str, Figure]]
    skipped: tuple[Skipped, ...]


def draw_figures(summary: Summary) -> Figures:
    """Return all figures; one with nothing to draw says so."""
    trials, methods = summary.trials, summary.experiment.methods
    baseline = baseline_of(summary.roles)
    usable = set(trials.loc[trials["valid"], "trial_id"])
    # Trials of unlike hosts are valid, but not comparable.
    records = tuple(record for record in summary.experiment.records if record.trial_id in usable)
    experiment = replace(summary.experiment, records=records)
    drawn = {}
    for metric in METRICS:
        if number := _BY_WORKLOAD.get(metric.name):
            drawn[f"figure{number}_{metric.name}.svg"] = workload_figure(trials, methods, metric, f"Figure {number}. ")
    drawn[_THROUGHPUT_FILE] = throughput_figure(summary.curves, methods, baseline)
    drawn["time_decomposition.svg"] = decomposition_figure(summary.parts, methods)
    drawn["visit_times.svg"] = visits_figure(visit_distribution(experiment), methods)
    traces = typical_traces(experiment)
    heatmap = heatmap_figure(traces.by_method, methods, traces.memory_mb, traces.what)
    # Methods that prefetch nothing have no accuracy and are not in its figure.
    accuracies, unusable = prefetch_accuracies(experiment)
    with_accuracy = trials.assign(**{ACCURACY.measurement: trials["trial_id"].map(accuracies).astype("float64")})
    drawn |= {
        _HEATMAP_FILE: heatmap,
        "prefetch_accuracy.svg": workload_figure(with_accuracy, methods, ACCURACY, ""),
        "instrument_agreement.svg": instruments_figure(instrument_readings(experiment), methods),
    }
    curves = [summary.curves, *summary.curves.others]
    by_workload = {
        _THROUGHPUT_FILE: {
            each.workload: throughput_figure(each, methods, baseline) for each in curves if each.by_method
        },
        _HEATMAP_FILE: {traces.workload: heatmap},
    }
    return Figures(drawn, by_workload, (*traces.skipped, *unusable))
