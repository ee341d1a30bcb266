# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How the nights went on: one page that opens offline, and the same as data.

The page's charts are drawn by its script, one cell at a time, so that a thousand nights open at once; the list of
nights is there without it. Its policy lets it load nothing and run that script only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from ...plugins.plugin_utils._experiment.experiment import LATEST
from ...plugins.plugin_utils._records.atomic import write_file
from ..presentation.pages import environment
from ..statistics.interval import Values, t_quantile
from . import BASELINE_NIGHTS, exports, store
from .metrics import METRICS, Metric
from .nights import Night
from .store import Entry, State
from .verdict import stack_changes

DIRECTORY = "history"
_TEMPLATES = Path(__file__).parent / "templates"
# A change of level costs this many times the logarithm of the number of nights: of 30 unchanged nights, 1 % show one.
_PENALTY = 5.0
_FEWEST_NIGHTS = 10


@dataclass(frozen=True)
class Series:
    """A metric in a cell by night; NaN where it was not measured.

    :ivar means: geometric means of the trials, in the unit of the measurement, as are the ends of the 95 % interval
    :ivar changes: places in the series at which a new level begins, found afterwards; None: not searched
    """

    cell: str
    metric: Metric
    means: Values
    lows: Values
    highs: Values
    changes: tuple[int, ...] | None


def write_history(results: Path, baseline_nights: int = BASELINE_NIGHTS) -> Path:
    """Write the history of the nights in ``results`` into ``results/history`` and return its page.

    :raises InputError: the state, or what a night measured, cannot be read
    :raises OSError: the directory is not writable, or the disk is full
    """
    state = store.read_state(results)
    entries = state.before(state.last + 1)
    nights = [store.kept(results, entry.id) for entry in entries]
    last = store.result_of(results, entries[-1].id, baseline_nights) if entries else None
    found = list(series(nights))
    directory = results / DIRECTORY
    directory.mkdir(exist_ok=True)
    page = directory / "index.html"
    write_file(page, _page(results, state, nights, last, found).encode())
    write_file(directory / "history.json", (json.dumps(_data(entries, nights, found)) + "\n").encode())
    temporary = directory / f".nights.{os.getpid()}"
    try:
        exports.write_sqlite(temporary, nights, store.outcomes(state))
        os.replace(temporary, directory / "nights.sqlite")
    finally:
        temporary.unlink(missing_ok=True)
    if last is not None:
        write_file(directory / "metrics.prom", exports.openmetrics([(nights[-1], last)]).encode())
        write_file(directory / "summary.md", (exports.markdown(last) + "\n").encode())
        write_file(directory / "junit.xml", (exports.junit(last) + "\n").encode())
    return page


def series(nights: Sequence[Night]) -> Iterator[Series]:
    """Yield each metric in each cell that any of ``nights`` measured, cell by cell."""
    cells = dict.fromkeys(cell for night in reversed(nights) for cell in night.values)
    for cell in cells:
        for metric in METRICS:
            trials = [night.values.get(cell, {}).get(metric.name) or () for night in nights]
            if not any(trials):
                continue
            middles, halves = np.full(len(nights), np.nan), np.full(len(nights), np.nan)
            for place, values in enumerate(trials):
                if values:
                    losses = metric.losses(np.asarray(values, dtype=np.float64))
                    middles[place] = losses.mean()
                    if len(values) > 1:
                        error = losses.std(ddof=1) / math.sqrt(len(values))
                        halves[place] = float(t_quantile(float(len(values) - 1))) * error
            ends = np.array([[_value(metric, loss) for loss in side] for side in (middles - halves, middles + halves)])
            means = np.array([_value(metric, loss) for loss in middles])
            yield Series(cell, metric, means, np.fmin(*ends), np.fmax(*ends), change_points(middles))


def _value(metric: Metric, loss: float) -> float:
    return math.nan if math.isnan(loss) else metric.value(float(loss))


def change_points(losses: Values) -> tuple[int, ...] | None:
    """Return the places at which a new level begins in ``losses``, NaN left out; None if ruptures is not installed.

    The noise is estimated from one night to the next, which a change of level hardly touches.
    """
    try:
        import ruptures
    except ImportError:  # then the page says so
        return None
    places = np.flatnonzero(np.isfinite(losses))
    known = losses[places]
    if len(known) < _FEWEST_NIGHTS:
        return ()
    steps = np.abs(np.diff(known))
    noise = float(np.median(steps)) / 0.6745 / math.sqrt(2) or float(steps.mean())
    if noise == 0:
        return ()
    search = ruptures.KernelCPD(kernel="linear", min_size=2).fit((known / noise)[:, np.newaxis])
    found = search.predict(pen=_PENALTY * math.log(len(known)))[:-1]  # the last is the end
    return tuple(int(places[place]) for place in found)


def _data(entries: Sequence[Entry], nights: Sequence[Night], found: Sequence[Series]) -> dict[str, Any]:
    """Return the history in plain types; None is missing."""
    red = [set(entry.red) for entry in entries]
    return {
        "nights": [
            {"id": night.id, "date": night.date, "verdict": entry.outcome, "stack": dict(night.stack)}
            for entry, night in zip(entries, nights, strict=True)
        ],
        "series": [
            {
                "cell": each.cell,
                "metric": each.metric.name,
                "title": each.metric.title,
                "unit": each.metric.unit,
                "means": _numbers(each.means),
                "lows": _numbers(each.lows),
                "highs": _numbers(each.highs),
                "changes": each.changes,
                "red": [place for place, pairs in enumerate(red) if (each.cell, each.metric.name) in pairs],
            }
            for each in found
        ],
    }


def _numbers(values: Values) -> list[float | None]:
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values]


def _page(
    results: Path, state: State, nights: Sequence[Night], last: exports.Result | None, found: Sequence[Series]
) -> str:
    entries = state.before(state.last + 1)
    changed = [_changed(nights[place - 1], nights[place]) if place else {} for place in range(len(nights))]
    rows = [
        {
            "id": entry.id,
            "date": night.date[:16].replace("T", " "),
            "verdict": entry.outcome,
            "found": [*(f"{cell}: {metric}" for cell, metric in entry.red), *night.failures[:3]],
            "changed": [f"{title}: {before} → {now}" for title, (before, now) in changes.items()],
            "report": f"../{entry.id}/report/report.html" if _reported(results, entry.id) else None,
        }
        for entry, night, changes in zip(entries, nights, changed, strict=True)
    ]
    data = _data(entries, nights, found)
    for night, changes in zip(data["nights"], changed, strict=True):
        night["stack"] = [f"{title}: {before} → {now}" for title, (before, now) in changes.items()]
    script = (_TEMPLATES / "history.js").read_text(encoding="utf-8")
    return (
        environment(_TEMPLATES)
        .get_template("history.html.j2")
        .render(
            rows=rows[::-1],
            last=last.verdict if last else None,
            titles={metric.name: f"{metric.title} ({metric.unit})" for metric in METRICS},
            decisions=state.decisions[::-1],
            searched=all(each.changes is not None for each in found),
            found=[
                f"{each.cell}: {each.metric.title}: a new level since {nights[place].id}"
                for each in found
                for place in each.changes or ()
            ],
            # No tag can end or begin in it.
            data=Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")),  # noqa: S704
            script=Markup(script),  # noqa: S704
            hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _reported(results: Path, night_id: str) -> bool:
    return night_id != LATEST and (results / night_id / "report" / "report.html").exists()


def _changed(before: Night, now: Night) -> Mapping[str, tuple[str, str]]:
    return stack_changes(before, now) if before.stack and now.stack else {}
