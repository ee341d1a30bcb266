# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Import of the raw data that the paper's authors published (faramarzsafi/VCSP), as an experiment.

Their files are ``<method><run>_<metric>.csv``, two columns, no header. Downtime, total migration time and page count
are per workload; throughput is one series of 0.1 s samples per run, and nothing says for which workload. So a run
becomes a trial for each workload, without throughput, and one more trial whose workload is not stated, with nothing but
throughput. Spreading the series over the workloads instead would count it seven times.

What the files do not say stays null: guest, link, walk pattern, times, events, and where in the series the migration
happens.
"""

from __future__ import annotations

import csv
import hashlib
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ...plugins.plugin_utils._experiment.record import unchecked
from ...plugins.plugin_utils._records.errors import InputError
from ...plugins.plugin_utils._records.printable import printable
from ...plugins.plugin_utils._records.records import TRIALS_DIRECTORY, scenario_hash, write_experiment, write_record
from ...plugins.plugin_utils._records.schema import SCHEMA_VERSION
from .telemetry import HEADER, PAGES_PER_MB, SAMPLE_S, TELEMETRY_FILE

# The settings are those of the paper's Table 2.
_METHODS = {
    "postcopy": ("post-copy", 100, 1),
    "postcopypf": ("post-copy-prefetching", 100, 10),
    "epostcopy": ("vcsp", 50, 1),
    "epostcopypf": ("vcsp-prefetching", 50, 10),
}
_MEASUREMENTS = {
    "downtime": "downtime_ms",
    "total_migration_time": "total_migration_time_s",
    "total_page_transferred": "page_requests",
}
_FILE_NAME = re.compile(
    rf"({'|'.join(_METHODS)})([1-9][0-9]{{0,2}})_({'|'.join(_MEASUREMENTS)}|throughput)\.csv", re.ASCII
)
# Of the experiment and of each trial.
_SETTINGS = {
    "guest": {"memory_mb": 2048, "vcpus": None, "thp": None},
    "link": {"rate_mbit": None},
    "baseline_s": None,
    "observation_s": None,
}
_REMARKS = (
    "The authors' throughput series state neither their workload nor when migration begins: throughput therefore"
    " belongs to trials whose workload is not stated, and Figure 6 marks no migration.",
    "In these series the methods differ before throughput falls by as much as after it, so the difference in throughput"
    " cannot be distinguished from one that migration did not cause.",
)


@dataclass
class _Run:
    """A run of a method: measurements by workload (MB), and the throughput series (MB/s), empty if there is none."""

    by_window: dict[int, dict[str, float]] = field(default_factory=dict)
    throughput: list[float] = field(default_factory=list)


def import_vcsp_raw(raw_directory: Path, directory: Path) -> int:
    """Write the authors' data in ``raw_directory``, any subset of their files, as an experiment into ``directory``.

    :returns: the number of trials written
    :raises InputError: none of the authors' files in ``raw_directory``, a malformed one (nothing is written then),
        or ``directory`` is not empty
    :raises OSError: ``directory`` is not writable
    """
    runs, digest = _read_runs(raw_directory)
    directory = directory.absolute()  # "." has no name to put a sibling beside
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(f"{directory}: is not empty; give a new or empty directory")
    experiment = _experiment(runs, digest)
    trials = _trials(runs, experiment)
    # Beside, then renamed: an import that breaks off leaves no half experiment.
    unfinished = directory.with_name(f".{directory.name}.import")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        write_experiment(unfinished, experiment)
        for record, files in trials:
            write_record(unfinished / TRIALS_DIRECTORY, record, files)
        unfinished.rename(directory)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return len(trials)


def _read_runs(raw_directory: Path) -> tuple[dict[tuple[str, int], _Run], str]:
    """Return the runs by method key and number, and a digest of the files they come from."""
    try:
        paths = sorted(path for path in raw_directory.iterdir() if _FILE_NAME.fullmatch(path.name))
    except OSError as error:
        raise InputError(f"{raw_directory}: cannot be read: {error.strerror}") from None
    if not paths:
        raise InputError(
            f"{raw_directory}: no file named like postcopy1_downtime.csv; give the authors' folder postcopy/"
        )
    runs: dict[tuple[str, int], _Run] = {}
    digest = hashlib.sha256()
    for path in paths:
        match = _FILE_NAME.fullmatch(path.name)
        assert match is not None  # by the selection above
        method, number, metric = match.groups()
        run = runs.setdefault((method, int(number)), _Run())
        rows = _read_pairs(path)
        digest.update(f"{path.name}\n{rows}\n".encode())
        if metric == "throughput":
            if list(rows) != list(range(1, len(rows) + 1)):
                raise InputError(f"{path}: the samples are not numbered 1, 2, 3 …; restore the file")
            run.throughput = list(rows.values())
        else:
            for window_mb, value in rows.items():
                run.by_window.setdefault(window_mb, {})[_MEASUREMENTS[metric]] = value
    return runs, digest.hexdigest()


def _read_pairs(path: Path) -> dict[int, float]:
    """Read a file of two columns: a positive whole number that occurs once, and a number of at least 0."""
    pairs: dict[int, float] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, line in enumerate(csv.reader(file), start=1):
                try:
                    key, value = map(float, line)
                except ValueError:
                    raise InputError(f"{path}: line {number} is not two numbers") from None
                if not key.is_integer() or key < 1 or key in pairs or not math.isfinite(value) or value < 0:
                    raise InputError(f"{path}: line {number}: {printable(','.join(line), 60)} cannot be a measurement")
                pairs[int(key)] = value
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if not pairs:
        raise InputError(f"{path}: empty; leave the file out, or restore it")
    return pairs


def _experiment(runs: Mapping[tuple[str, int], _Run], digest: str) -> dict[str, Any]:
    windows = sorted({window_mb for run in runs.values() for window_mb in run.by_window})
    workloads = [_workload(window_mb) for window_mb in windows]
    if any(run.throughput for run in runs.values()):
        workloads.append(_workload(None))
    scenario = {
        "name": "vcsp-raw",
        "repeats": max(number for _, number in runs),
        "seed": None,
        **_SETTINGS,
        "workloads": workloads,
        "methods": [_method(key) for key in _METHODS if any(method == key for method, _ in runs)],
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "experiment_id": f"vcsp-raw-{digest[:12]}",
        "scenario": scenario,
        "scenario_hash": scenario_hash(scenario),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "provenance": {
            "imported_from": "raw data of the paper's authors, faramarzsafi/VCSP, postcopy/",
            "sha256": digest,
            "remarks": list(_REMARKS),
        },
    }


def _trials(
    runs: Mapping[tuple[str, int], _Run], experiment: Mapping[str, Any]
) -> list[tuple[dict[str, Any], dict[str, bytes]]]:
    """Return each trial's record and files."""
    parts: list[tuple[int, str, int | None, dict[str, float], dict[str, bytes]]] = []
    for (key, number), run in sorted(runs.items(), key=lambda item: item[0][1]):
        for window_mb, values in sorted(run.by_window.items()):
            parts.append((number, key, window_mb, values, {}))
        if run.throughput:
            mean = {"throughput_mb_per_s": float(np.mean(run.throughput))}
            parts.append((number, key, None, mean, {TELEMETRY_FILE: _telemetry(run.throughput)}))
    return [
        (_record(experiment, index, len(parts), number, key, window_mb, values), files)
        for index, (number, key, window_mb, values, files) in enumerate(parts, start=1)
    ]


def _record(
    experiment: Mapping[str, Any],
    index: int,
    total: int,
    repeat: int,
    key: str,
    window_mb: int | None,
    values: Mapping[str, float],
) -> dict[str, Any]:
    method = _method(key)
    workload = "whole-run" if window_mb is None else f"{window_mb:04d}mb"
    trial = {
        "id": f"r{repeat:02d}-{workload}-{method['name']}",
        "index": index,
        "total": total,
        "repeat": repeat,
        "workload": _workload(window_mb),
        "method": method,
        **_SETTINGS,
    }
    result = {"measurements": values, "validity": {"valid": True, "reasons": []}}
    return unchecked(experiment["experiment_id"], trial, result, None, {})


def _workload(window_mb: int | None) -> dict[str, Any]:
    return {
        "window_mb": window_mb,
        "pattern": None,
        "rate_mb_per_s": None,
        "work_per_page": None,
        "writes_percent": None,
    }


def _method(key: str) -> dict[str, Any]:
    name, quota_percent, prefetch_pages = _METHODS[key]
    return {
        "name": name,
        "vcpu_quota_percent": quota_percent,
        "vcpu_period_us": None,
        "prefetch_pages": prefetch_pages,
        "transfer": "demand",
    }


def _telemetry(mb_per_s: Sequence[float]) -> bytes:
    """Turn a throughput series into pages walked so far; time counts from its first sample, as resume is not known."""
    pages = np.concatenate([[0.0], np.cumsum(mb_per_s) * SAMPLE_S * PAGES_PER_MB]).round().astype(int)
    lines = [",".join(HEADER), *(f"{index * SAMPLE_S:.1f},,{count},," for index, count in enumerate(pages))]
    return ("\n".join(lines) + "\n").encode("ascii")
