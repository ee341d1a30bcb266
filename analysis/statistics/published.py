# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Table 3 as the paper prints it (Jalaei & Safi-Esfahani, doi 10.1007/s41870-020-00483-z)."""

from __future__ import annotations

# method -> metric -> improvement over post-copy in percent, as text because the paper's digits differ from cell to cell
PUBLISHED = {
    "post-copy-prefetching": {
        "downtime": "-2",
        "total_migration_time": "23",
        "pages_transferred": "41",
        "throughput": "4",
    },
    "vcsp": {
        "downtime": "-16",
        "total_migration_time": "-17",
        "pages_transferred": "-65",
        "throughput": "10",
    },
    "vcsp-prefetching": {
        "downtime": "8.17",
        "total_migration_time": "30.33",
        "pages_transferred": "54.49",
        "throughput": "23.65",
    },
}


def published(method: str, metric: str) -> str | None:
    """Return the published value of a cell, in percent, or None where the paper has none."""
    return PUBLISHED.get(method, {}).get(metric)
