# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Table 3 as plain data, for JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .estimate import Estimate
from .metrics import METRICS
from .table3 import Table3


def table3_data(table: Table3) -> list[dict[str, Any]]:
    """Return an entry for each method and metric.

    ``baseline`` and ``paper`` hold ``pct``, ``low``, ``high`` and ``verdict`` (null is missing); ``best`` adds the
    ``workload``, and is null where the cell covers a single one; ``n`` and ``n_baseline`` count trials.
    """
    return [
        {
            "method": row.method,
            "metric": metric.name,
            "baseline": _estimate(cell.baseline),
            "paper": _estimate(cell.paper),
            "n": cell.n,
            "n_baseline": cell.n_baseline,
            "workloads": list(cell.workloads),
            "best": None if cell.best is None else {"workload": cell.best.workload, **_estimate(cell.best.estimate)},
        }
        for row in table.rows
        for metric in METRICS
        for cell in [row.cells[metric.name]]
    ]


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {**asdict(estimate), "verdict": estimate.verdict}
