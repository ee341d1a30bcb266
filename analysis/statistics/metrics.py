# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The four metrics of Table 3: their names, sources and directions, and what the paper published of them.

The paper is Jalaei & Safi-Esfahani, doi 10.1007/s41870-020-00483-z.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A metric: its name in files, its measurement in a record, its title and unit for people, its definition."""

    name: str
    measurement: str
    title: str
    unit: str
    higher_is_better: bool
    definition: str


METRICS = (
    Metric(
        "downtime",
        "downtime_ms",
        "Downtime",
        "ms",
        False,
        "Stop-and-copy gap plus page wait: the time a virtual CPU, on average, was neither on a CPU nor waiting for"
        " one, from resume on the destination to completion.",
    ),
    Metric(
        "total_migration_time",
        "total_migration_time_s",
        "Total migration time",
        "s",
        False,
        "From the guest's stop on the source to the last page (completed).",
    ),
    Metric(
        "pages_transferred",
        "page_requests",
        "Pages transferred",
        "page requests",
        False,
        "Page requests that crossed the wire back to the source. The paper counts page faults and page crowd; QEMU"
        " sends each page once, so pages sent could not fall by half.",
    ),
    Metric(
        "throughput",
        "throughput_mb_per_s",
        "Throughput",
        "MB/s",
        True,
        "Guest memory processed per second, mean over an observation window of fixed length, the same for every method"
        " of a workload.",
    ),
)


TITLES = {metric.name: metric.title for metric in METRICS}

# Method -> improvement over post-copy in percent in each of METRICS, as text because the paper's digits differ.
_PUBLISHED_ROWS = {
    "post-copy-prefetching": ("-2", "23", "41", "4"),
    "vcsp": ("-16", "-17", "-65", "10"),
    "vcsp-prefetching": ("8.17", "30.33", "54.49", "23.65"),
}
PUBLISHED = {
    method: {metric.name: value for metric, value in zip(METRICS, values, strict=True)}
    for method, values in _PUBLISHED_ROWS.items()
}


def published(method: str | None, metric: str) -> str | None:
    """Return the published value of a cell of ``method``, by the paper's name, in percent; None where there is none."""
    return PUBLISHED.get(method or "", {}).get(metric)
