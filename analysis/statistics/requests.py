# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What follows from request traces: a grid of how often each part of memory was requested, and prefetch accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...plugins.plugin_utils._records.errors import InputError
from ...plugins.plugin_utils._records.records import Experiment, Skipped
from ..data.requests import REQUESTS_FILE, Pages, Places, Requests, read_requests
from ..data.telemetry import PAGES_PER_MB
from .metrics import Metric

# Four methods of ten thousand full cells in all still make a small figure.
COLUMNS, ROWS = 80, 32
# As many as the processor's cache holds: whole traces at once take twice as long, and 80 MB for each step.
_AT_ONCE = 1 << 16


ACCURACY = Metric(
    "prefetch_accuracy",
    "prefetch_accuracy_percent",
    "Prefetch accuracy",
    "% of prefetched pages",
    True,
    "Share of the pages fetched ahead that were never asked for afterwards. A page that was asked for anyway came too"
    " late. Whether the guest used a page that it did not ask for cannot be seen on the wire.",
)


@dataclass(frozen=True)
class Grid:
    """Where the cells of a heatmap are: `COLUMNS` from ``start_s`` to ``end_s``, `ROWS` from 0 to ``memory_mb``."""

    start_s: float
    end_s: float
    memory_mb: float

    @property
    def cell_s(self) -> float:
        """The width of a cell."""
        return (self.end_s - self.start_s) / COLUMNS

    @property
    def cell_mb(self) -> float:
        """The height of a cell."""
        return self.memory_mb / ROWS


def count_requests(places: Places, grid: Grid) -> npt.NDArray[np.int64]:
    """Count the requests in each cell of ``grid``, shape (`ROWS`, `COLUMNS`); those outside are left out."""
    counts = np.zeros(ROWS * COLUMNS, dtype=np.int64)
    for first in range(0, len(places.page), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        time_s, page = places.time_s[part], places.page[part]
        column = ((time_s - grid.start_s) * (1 / grid.cell_s)).astype(np.int64)
        # The last request is the end of the last cell, and belongs to it.
        column[(column == COLUMNS) & (time_s <= grid.end_s)] = COLUMNS - 1
        row = (page * (1 / (PAGES_PER_MB * grid.cell_mb))).astype(np.int64)
        inside = (time_s >= grid.start_s) & (column < COLUMNS) & (row < ROWS)
        cell = row * COLUMNS + column
        counts += np.bincount(cell if inside.all() else cell[inside], minlength=ROWS * COLUMNS)
    return counts.reshape(ROWS, COLUMNS)


def prefetch_accuracy_percent(requests: Requests) -> float | None:
    """Return the share of prefetched pages that were never asked for afterwards, in percent.

    A page is prefetched when an extended request covers it before it is asked for itself. One that is asked for later
    came too late or was not sent: the guest stopped for it as if there were no prefetching. The wire does not
    show whether the guest ever used a page that it did not ask for. None if nothing was prefetched.
    """
    spans = ((requests.page, requests.page + requests.asked), (requests.sent_page, requests.sent_page + requests.sent))
    # The pages between two neighbouring bounds share one fate, so the length of a request costs nothing.
    bounds = np.unique(np.concatenate([bound for span in spans for bound in span]))
    places = [[np.searchsorted(bounds, bound) for bound in span] for span in spans]
    asked, covered = (_first_covered(start, end, len(bounds)) for start, end in places)
    pages = np.diff(bounds, append=bounds[-1:])
    is_prefetched = covered < asked
    count = int(pages[is_prefetched].sum())
    if not count:
        return None
    return 100 * float(pages[is_prefetched & (asked == len(requests.page))].sum()) / count


def _first_covered(start: Pages, end: Pages, places: int) -> Pages:
    """Return, for each place, the number of the first request that covers it, or the count of requests if none does.

    A request is two overlapping blocks whose length is a power of two; from the longest down, each length's blocks are
    split into halves.
    """
    found = np.full(places, len(start), dtype=np.int64)
    powers = np.frexp(end - start)[1] - 1
    for power in range(int(powers.max(initial=-1)), -1, -1):
        half = 1 << power
        found[half:] = np.minimum(found[half:], found[:-half])
        # Backwards, because the last of several assignments to one place stays: that of the earliest request.
        number = np.flatnonzero(powers == power)[::-1]
        for place in (start[number], end[number] - half):
            earliest = np.full(places, len(start), dtype=np.int64)
            earliest[place] = number
            np.minimum(found, earliest, out=found)
    return found


def prefetch_accuracies(experiment: Experiment) -> tuple[dict[str, float | None], tuple[Skipped, ...]]:
    """Return the accuracy of each valid trial that prefetched, by trial id, and the trials with an unusable trace."""
    accuracies: dict[str, float | None] = {}
    skipped = []
    for record in experiment.records:
        if not record.valid or not record.method.prefetches or not (record.directory / REQUESTS_FILE).exists():
            continue
        try:
            requests = read_requests(record.directory / REQUESTS_FILE)
        except InputError as error:
            skipped.append(Skipped(record.trial_id, f"not in the figure of prefetch accuracy: {error}"))
        else:
            accuracies[record.trial_id] = prefetch_accuracy_percent(requests)
    return accuracies, tuple(skipped)
