# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How good prefetching was, by workload and method."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ...plugins.plugin_utils._records.errors import InputError
from ...plugins.plugin_utils._records.records import Experiment, Record, Skipped
from ..data.requests import REQUESTS_FILE, read_requests
from ..statistics.metrics import Metric
from ..statistics.requests_accuracy import prefetch_accuracy_percent
from .style import Figure
from .workloads import workload_figure

ACCURACY = Metric(
    "prefetch_accuracy",
    "prefetch_accuracy_percent",
    "Prefetch accuracy",
    "% of prefetched pages",
    True,
    "Share of the pages fetched ahead that were never asked for afterwards. A page that was asked for all the same came"
    " too late. Whether the guest used a page that it did not ask for is not seen on the wire.",
)


def prefetch_figure(
    experiment: Experiment, trials: pd.DataFrame, methods: Sequence[str]
) -> tuple[Figure, tuple[Skipped, ...]]:
    """Return the figure of `ACCURACY`, and the trials whose trace is not usable.

    ``trials`` is the table of `table.tidy`. Methods that prefetch nothing have no accuracy and are not in it.
    """
    accuracy: dict[str, float | None] = {}
    skipped = []
    for record in experiment.records:
        if not record.valid or not _prefetches(record) or not (record.directory / REQUESTS_FILE).exists():
            continue
        try:
            requests = read_requests(record.directory / REQUESTS_FILE)
        except InputError as error:
            skipped.append(Skipped(record.trial_id, f"not in the figure of prefetch accuracy: {error}"))
        else:
            accuracy[record.trial_id] = prefetch_accuracy_percent(requests)
    column = trials["trial_id"].map(accuracy).astype("float64")
    figure = workload_figure(trials.assign(**{ACCURACY.measurement: column}), methods, ACCURACY, "")
    return figure, tuple(skipped)


def _prefetches(record: Record) -> bool:
    return bool(record.data["trial"]["method"]["prefetch_pages"] > 1)
