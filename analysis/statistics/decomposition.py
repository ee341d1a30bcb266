# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the time of a migration goes, as one virtual CPU sees it: from its stop on the source to the last page.

The parts add up to the whole. Throttled time is what the quota's controller counted, but no more than the virtual CPUs
waited for a CPU: the controller's clock also runs while a throttled virtual CPU waits for a page, which is page wait.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ...plugins.plugin_utils._records.events import resume_to_completion_ms, time_of_s
from ...plugins.plugin_utils._records.records import Experiment, Record
from .interval import means


@dataclass(frozen=True)
class Part:
    """A part of the time: its column, its title, and what it is."""

    column: str
    title: str
    definition: str


PARTS = (
    Part("blackout_ms", "Blackout", "Stop-and-copy: from stop on the source to resume on the destination."),
    Part("page_wait_ms", "Page wait", "The virtual CPU neither ran nor waited for a processor: it waited for a page."),
    Part("throttled_ms", "Throttled", "It waited for a processor because the quota held it back."),
    Part("queued_ms", "Other run-queue wait", "It waited for a processor for any other reason, such as other threads."),
    Part("on_cpu_ms", "On CPU", "It ran."),
)
LOSS_COLUMNS = ("stall_loss_s", "kernel_s", "slower_s", "unexplained_s", "slow_down_percent")
_BY = ["workload", "method"]


def time_parts(experiment: Experiment) -> pd.DataFrame:
    """Return the parts of each valid trial that has all of them.

    Columns: ``trial_id``, ``workload`` (a label), ``method``, ``pair``, ``repeat``, the columns of `PARTS` (ms, mean of
    the virtual CPUs), ``total_ms`` (their sum), ``stall_loss_s`` and ``slow_down_percent`` as measured, and
    what of the stall loss is none of the waits: ``kernel_s`` and ``slower_s``, time on a CPU beyond what the same work
    takes at the steady rate, in the kernel and outside of it, and ``unexplained_s``, the rest (NaN where missing).
    """
    columns = ["trial_id", *_BY, "pair", "repeat", *(part.column for part in PARTS), "total_ms", *LOSS_COLUMNS]
    rows = [row for record in experiment.records if record.valid and (row := _row(record)) is not None]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype(dict.fromkeys(columns[5:], "float64"))


def mean_parts(parts: pd.DataFrame) -> pd.DataFrame:
    """Average `time_parts` within workload and method.

    :returns: one row per workload, method and part: ``workload``, ``method``, ``part`` (its column), ``title``,
        ``mean``, ``low`` and ``high`` (ms; Student's t interval, NaN for a single trial), ``share_percent`` of the
        total, and ``n``
    """
    tables = []
    total = means(parts.assign(valid=True), _BY, "total_ms")["mean"]
    for part in PARTS:
        table = means(parts.assign(valid=True), _BY, part.column)
        tables.append(table.assign(part=part.column, title=part.title, share_percent=100 * table["mean"] / total))
    order = [*_BY, "part", "title", "mean", "low", "high", "share_percent", "n"]
    return pd.concat(tables, ignore_index=True)[order]


def mean_losses(parts: pd.DataFrame) -> pd.DataFrame:
    """Average the service loss of `time_parts` within workload and method.

    :returns: one row per workload, method and column of `LOSS_COLUMNS` with values: ``workload``, ``method``, ``loss``,
        ``mean``, ``low``, ``high`` (in the unit of the column; NaN for a single trial) and ``n``
    """
    tables = [means(parts.assign(valid=True), _BY, column).assign(loss=column) for column in LOSS_COLUMNS]
    return pd.concat(tables, ignore_index=True)[[*_BY, "loss", "mean", "low", "high", "n"]]


def _row(record: Record) -> dict[str, object] | None:
    """Return the parts of a trial; None if one is missing, or if they contradict each other."""
    measured, vcpus = record.data["measurements"], record.data["trial"]["guest"]["vcpus"]
    blackout_ms, wait_ms, throttled_ms = measured["stop_and_copy_ms"], measured["page_wait_ms"], _throttled_ms(record)
    queue_ms = record.reading("schedstat", "run_queue_ms")
    whole_ms = resume_to_completion_ms(record.data["events"])
    if vcpus is None or blackout_ms is None or wait_ms is None or whole_ms is None:
        return None
    if queue_ms is None or throttled_ms is None:
        return None
    throttled_ms = min(throttled_ms, queue_ms)
    on_cpu_ms = whole_ms * vcpus - wait_ms - queue_ms
    if on_cpu_ms < 0 or queue_ms < 0:
        return None
    loss_s, waited_s = measured["stall_loss_s"], (wait_ms + queue_ms) / vcpus / 1000
    kernel_s, slower_s = _slower_s(record, vcpus) or (None, None)
    return {
        "trial_id": record.trial_id,
        "workload": record.cell.workload,
        "method": record.cell.method,
        "pair": record.pair or "",
        "repeat": record.cell.repeat,
        "blackout_ms": blackout_ms,
        "page_wait_ms": wait_ms / vcpus,
        "throttled_ms": throttled_ms / vcpus,
        "queued_ms": (queue_ms - throttled_ms) / vcpus,
        "on_cpu_ms": on_cpu_ms / vcpus,
        "total_ms": blackout_ms + whole_ms,
        "stall_loss_s": loss_s,
        "kernel_s": kernel_s,
        "slower_s": slower_s,
        "unexplained_s": None if loss_s is None else loss_s - waited_s - (kernel_s or 0.0) - (slower_s or 0.0),
        "slow_down_percent": measured["slow_down_percent"],
    }


def _slower_s(record: Record, vcpus: int) -> tuple[float, float] | None:
    """Return the time on a CPU beyond what the work took once it was steady, in the kernel and outside of it.

    Both are of one virtual CPU, from its resume to the end of the observation window.
    """
    measured, end_s = record.data["measurements"], time_of_s(record.data["events"], "module", "OBSERVATION_END")
    throughput, steady = measured["throughput_mb_per_s"], measured["steady_mb_per_s"]
    names = "window_on_cpu_ms", "window_kernel_ms", "steady_on_cpu_percent", "steady_kernel_percent"
    found = [value for name in names if (value := record.reading("schedstat", name)) is not None]
    if throughput is None or not steady or end_s is None or len(found) < len(names):
        return None
    work_s = end_s * throughput / steady
    on_cpu_s, kernel_s = (
        whole_ms / vcpus / 1000 - work_s * percent / 100 for whole_ms, percent in zip(found[:2], found[2:], strict=True)
    )
    return kernel_s, on_cpu_s - kernel_s


def _throttled_ms(record: Record) -> float | None:
    """Return the time that the quota took, which is 0 for a method without one."""
    if not record.method.throttles:
        return 0.0
    throttled_ms: float | None = record.data["measurements"]["throttled_ms"]
    return throttled_ms
