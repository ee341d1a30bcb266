# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the web report's script needs: charts and trials as JSON, and the tables for download."""

from __future__ import annotations

import base64
import json
from typing import Any

from ...plugins.plugin_utils._records.errors import InputError
from ...plugins.plugin_utils._records.records import Experiment, Record
from ..figures.every import Figures
from ..figures.style import Figure
from ..figures.throughput import trial_figure
from ..statistics.curves import thinned, trial_samples
from ..statistics.table3 import table3_data
from ..summary import Summary

# Enough for a chart of this width, and still small for 140 trials.
_MOST_SAMPLES = 150
# With more, the page would open slowly; the paper's scenario has 140.
MOST_TRIALS = 300


def page_data(summary: Summary, figures: Figures) -> str:
    r"""Return the page's data as JSON that may stand in a ``script`` element: no ``<``, ``>`` or ``&`` is left in it.

    ``table3``: see `table3_data`; empty without a table. ``figures``: file name -> charts, each with the ``workload``
    it is of (null: all), ``subtitle`` and ``spec``. ``trials``: what the `listed` records say, with ``curve`` thinned
    and ``provenance`` as an index into ``provenances``.
    """
    experiment = summary.experiment
    trials, provenances = _trials(experiment)
    document = {
        "methods": experiment.methods,
        "table3": table3_data(summary.table) if summary.table else [],
        "workloads": list(dict.fromkeys(cell.workload for cell in experiment.planned)),
        "figures": {name: _charts(name, figure, figures) for name, figure in figures.by_file.items()},
        "trial_spec": trial_figure().spec(),
        "trials": trials,
        "provenances": provenances,
    }
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def listed(experiment: Experiment) -> list[Record]:
    """Return the records that the page lists, in the order of the plan.

    At most `MOST_TRIALS`: invalid trials are chosen before valid ones, early ones before late ones.
    """
    place = {cell: index for index, cell in enumerate(experiment.planned)}
    chosen = sorted(experiment.records, key=lambda record: (record.valid, place[record.cell]))[:MOST_TRIALS]
    return sorted(chosen, key=lambda record: place[record.cell])


def data_url(content: bytes, kind: str) -> str:
    """Return ``content`` as a URL of the media type ``kind`` that holds all of it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _charts(name: str, figure: Figure, figures: Figures) -> list[dict[str, Any]]:
    of_workload: list[tuple[str | None, Figure]] = [*figures.by_workload.get(name, {}).items()] or [(None, figure)]
    return [
        {"workload": workload, "subtitle": each.subtitle, "spec": each.spec()}
        for workload, each in of_workload
        if each.chart is not None
    ]


def _trials(experiment: Experiment) -> tuple[list[dict[str, Any]], list[Any]]:
    """Return the trials and their different provenances, of which there is usually only one."""
    provenances: dict[str, int] = {}
    trials = []
    for record in listed(experiment):
        provenance = json.dumps(record.data["provenance"], sort_keys=True)
        index = provenances.setdefault(provenance, len(provenances))
        trials.append(_trial(record) | {"provenance": index})
    return trials, [json.loads(provenance) for provenance in provenances]


def _trial(record: Record) -> dict[str, Any]:
    keys = "started_at", "ended_at", "events", "clock_offset", "measurements", "instruments", "memory_verified"
    trial = record.data["trial"]
    return {
        "id": record.trial_id,
        "method": record.cell.method,
        "workload": record.cell.workload,
        "repeat": record.cell.repeat,
        "validity": {"valid": record.valid, "reasons": record.reasons},
        "settings": {key: value for key, value in trial.items() if key not in {"id", "repeat"}},
        **{key: record.data[key] for key in keys},
        "curve": _curve(record),
    }


def _curve(record: Record) -> list[list[float]] | None:
    """Return (time in s, throughput in MB/s) of a trial; None without usable telemetry."""
    try:
        samples = thinned(trial_samples(record), _MOST_SAMPLES).round(2)
    except InputError:
        return None
    pairs: list[list[float]] = samples.dropna()[["time_s", "mb_per_s"]].to_numpy().tolist()
    return pairs
