# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the time of a page fault that QEMU reports agrees with the trace of page requests.

QEMU 10.1 and later count faults by the power of two in us that they took (``postcopy-latency-dist`` of
``query-migrate``, qapi/migration.json; marked unstable, so it may be absent or change). A single vCPU that is neither
throttled nor gets more pages than it asked for does nothing between two requests but wait for the first page and visit
it: so the gap between them is the latency, and that visit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from ...plugins.module_utils._measure.visit_times import quantile
from ...plugins.module_utils._method import Method
from ...plugins.plugin_utils._records.records import Experiment, Record
from .quality import NoiseWarning

QUANTILES = {"median": 0.5, "99th percentile": 0.99}
# Both count by powers of two.
FACTOR = 2.0
_PAGE_MB = 1 / 256
# QEMU has 24 of them.
_MOST_BITS = 64


def latency_warnings(experiment: Experiment) -> tuple[NoiseWarning, ...]:
    """Return a warning for each method and quantile in which QEMU and the request trace differ by more than `FACTOR`.

    The medians of the valid trials are compared, where both instruments are present and the method lets them be.
    """
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    for record in experiment.records:
        if record.valid and record.data["trial"]["guest"]["vcpus"] == 1 and _comparable(record):
            for name, latency_us, gap_us, visit_us in _read(record):
                found[record.cell.method, name].append((latency_us, gap_us, visit_us))
    warnings = []
    for (method, name), values in found.items():
        latency_us, gap_us, visit_us = (median(column) for column in zip(*values, strict=True))
        if (gap_us - visit_us) / FACTOR <= latency_us <= gap_us * FACTOR:
            continue
        problem = (
            f"page faults of {method} took {latency_us:.0f} us by QEMU's count ({name}), and"
            f" {max(0.0, gap_us - visit_us):.0f} to {gap_us:.0f} us by the request trace"
        )
        warnings.append(NoiseWarning(problem, "the instruments disagree, so do not trust the size of downtime"))
    return tuple(warnings)


def _comparable(record: Record) -> bool:
    method = Method.of(record.data["trial"]["method"])
    return method.holds_push and not method.prefetches and not method.throttles


def _read(record: Record) -> Iterator[tuple[str, float, float, float]]:
    """Yield the name of each quantile, QEMU's latency, the gap and the time of a visit, in us."""
    latencies = _counts(record.readings("qemu_blocktime").get("postcopy_latency_dist"))
    gaps, rate = _counts(record.readings("request_trace").get("gaps")), record.data["measurements"]["steady_mb_per_s"]
    if latencies and gaps and rate:
        for name, share in QUANTILES.items():
            yield name, quantile(latencies, share), quantile(gaps, share), 1e6 * _PAGE_MB / rate


def _counts(found: Any) -> dict[int, int]:
    """Return events by power of two; empty for what is neither QEMU's list nor our mapping, or holds other things."""
    if isinstance(found, Sequence) and not isinstance(found, str):
        pairs = list(enumerate(found))
    elif isinstance(found, Mapping) and all(str(bit).isdecimal() for bit in found):
        pairs = [(int(bit), count) for bit, count in found.items()]
    else:
        return {}
    if not all(bit < _MOST_BITS and type(count) is int and 0 <= count < 1 << 63 for bit, count in pairs):
        return {}
    return {bit: count for bit, count in pairs if count}
