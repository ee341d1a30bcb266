# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How often each part of guest memory was asked for over time: a trace of any length as a small grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..data.requests import PAGE_BYTES, Places

PAGES_PER_MB = (1 << 20) // PAGE_BYTES
# Four methods of ten thousand full cells in all still make a small figure.
COLUMNS, ROWS = 80, 32
# As many as the processor's cache holds: whole traces at once take twice as long, and 80 MB for each step.
_AT_ONCE = 1 << 16


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
    """Count the requests in each cell of ``grid``, shape (`ROWS`, `COLUMNS`); what lies outside is in no cell."""
    counts = np.zeros(ROWS * COLUMNS, dtype=np.int64)
    for first in range(0, len(places.page), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        time_s, page = places.time_s[part], places.page[part]
        column = ((time_s - grid.start_s) * (1 / grid.cell_s)).astype(np.int64)
        # The last request belongs to the last cell, of which it is the end.
        column[(column == COLUMNS) & (time_s <= grid.end_s)] = COLUMNS - 1
        row = (page * (1 / (PAGES_PER_MB * grid.cell_mb))).astype(np.int64)
        inside = (time_s >= grid.start_s) & (column < COLUMNS) & (row < ROWS)
        cell = row * COLUMNS + column
        counts += np.bincount(cell if inside.all() else cell[inside], minlength=ROWS * COLUMNS)
    return counts.reshape(ROWS, COLUMNS)
