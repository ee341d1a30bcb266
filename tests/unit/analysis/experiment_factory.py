# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes experiments for tests: scenario, records, telemetry, on disk as the testbed writes them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import (
    scenario_hash,
    write_experiment,
    write_record,
)
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.schema import measurement_names
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.trials import trial_id

METHODS = {
    "post-copy": (100, 1),
    "post-copy-prefetching": (100, 10),
    "vcsp": (50, 1),
    "vcsp-prefetching": (50, 10),
}

# Each has the settings that its name stands for in the paper.
ROLES = {name: name for name in METHODS}


def method(name: str) -> dict[str, Any]:
    quota, pages = METHODS[name]
    return {
        "name": name,
        "vcpu_quota_percent": quota,
        "vcpu_period_us": 10000,
        "prefetch_pages": pages,
        "transfer": "demand",
    }


def workload(window_mb: int, pattern: str = "sequential", work_per_page: int = 4) -> dict[str, Any]:
    return {
        "window_mb": window_mb,
        "pattern": pattern,
        "rate_mb_per_s": None,
        "work_per_page": work_per_page,
        "writes_percent": 100,
    }


def calibration(target_mb_per_s: float) -> dict[str, Any]:
    return {
        "target_mb_per_s": target_mb_per_s,
        "rate_mb_per_s": target_mb_per_s,
        "low_mb_per_s": 0.98 * target_mb_per_s,
        "high_mb_per_s": 1.02 * target_mb_per_s,
        "work_words": 10000,
        "took_s": 6.5,
    }


def experiment(
    methods: Sequence[str] = tuple(METHODS), workloads: Sequence[Mapping[str, Any]] = (workload(8),), repeats: int = 3
) -> dict[str, Any]:
    scenario = {
        "name": "synthetic",
        "repeats": repeats,
        "seed": 1,
        "guest": {
            "system": "debian",
            "accelerator": "auto",
            "memory_mb": 512,
            "idle_mb": 0,
            "vcpus": 1,
            "thp": "madvise",
        },
        "link": {"rate_mbit": 1000, "delay_us": 100, "queue": "fair", "congestion_control": "cubic"},
        "baseline_s": 5,
        "observation_s": None,
        "workloads": [dict(each) for each in workloads],
        "methods": [method(name) for name in methods],
    }
    return {
        "schema_version": 2,
        "experiment_id": "synthetic-1",
        "scenario": scenario,
        "scenario_hash": scenario_hash(scenario),
        "created_at": "2026-01-02T03:04:05Z",
        "provenance": {"git": {"commit": "abc", "dirty": False}},
    }


def record(
    of: Mapping[str, Any],
    name: str = "post-copy",
    load: Mapping[str, Any] | None = None,
    repeat: int = 1,
    measurements: Mapping[str, float] | None = None,
    reasons: Sequence[str] = (),
) -> dict[str, Any]:
    """Make a record of ``of``, valid unless there are ``reasons``; what ``measurements`` does not name is null."""
    scenario = of["scenario"]
    load = load or scenario["workloads"][0]
    values = {"downtime_ms": 100.0} if measurements is None and not reasons else dict(measurements or {})
    return copy.deepcopy(
        {
            "schema_version": 2,
            "experiment_id": of["experiment_id"],
            "trial": {
                "id": trial_id(scenario["workloads"], repeat, load, name),
                "index": 1,
                "total": 1,
                "repeat": repeat,
                "workload": load,
                "method": method(name),
                "guest": scenario["guest"],
                "link": scenario["link"],
                "baseline_s": scenario["baseline_s"],
                "observation_s": 3 + 0.075 * load["window_mb"],
            },
            "started_at": "2026-01-02T03:04:05.678Z",
            "ended_at": "2026-01-02T03:05:05+00:00",
            "provenance": {
                "source": {"qemu": "10.0"},
                "destination": {"qemu": "10.0"},
                "controller": {"python": "3.11"},
            },
            "events": [
                {"host": "source", "name": "MIGRATION", "data": {"status": "postcopy-active"}, "time_s": -0.01},
                {"host": "destination", "name": "RESUME", "data": {}, "time_s": 0.0},
                {"host": "destination", "name": "MIGRATION", "data": {"status": "completed"}, "time_s": 1.5},
            ],
            "clock_offset": {"offset_ms": 0.1, "bound_ms": 0.4},
            "calibration": None,
            "link": None,
            "window": None,
            "measurements": {key: values.get(key) for key in measurement_names()},
            "instruments": {
                "schedstat": {"present": True, "reason": None, "values": {"run_queue_ms": 90.0}},
                "blocktime": {"present": False, "reason": "QEMU < 9 & <no field>", "values": {}},
            },
            "memory_verified": not reasons,
            "cautions": [],
            "validity": {"valid": not reasons, "reasons": list(reasons)},
        }
    )


def sound(
    of: Mapping[str, Any],
    name: str = "post-copy",
    load: Mapping[str, Any] | None = None,
    repeat: int = 1,
    scale: float = 1.0,
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Make a record of ``of`` as a real migration leaves it, all of whose parts agree, and its files.

    ``scale`` stretches downtime and total migration time.
    """
    load = load or of["scenario"]["workloads"][0]
    wait_ms, stop_s, completed_s, window_s = 600 * scale, 0.012, 1.5 * scale, 8.0
    total_s = completed_s + stop_s
    requests, sent_kb, rates = round(2000 * scale), 90000.0, [300.0] * 50 + [100.0] * 20 + [310.0] * 60
    slow_s = min(completed_s, 2.0)
    throughput = sum(rates[50:]) / len(rates[50:])
    measurements = {
        "downtime_ms": 1000 * stop_s + wait_ms,
        "stop_and_copy_ms": 1000 * stop_s,
        "page_wait_ms": wait_ms,
        "total_migration_time_s": total_s,
        "page_requests": requests,
        "pages_sent": 22000,
        "sent_kb": sent_kb,
        "throughput_mb_per_s": throughput,
        "baseline_mb_per_s": 300.0,
        "steady_mb_per_s": 310.0,
        "stall_loss_s": window_s * (1 - throughput / 310),
        "slow_down_percent": 100 * (1 - 310 / 300),
        "throttled_ms": 400.0 if METHODS[name][0] < 100 else None,
        "window_walk_s": 0.9,
        "link_mbit_per_s": sent_kb * 1024 * 8 / 1e6 / total_s,
        "postcopy_rate_mb_per_s": (100 * slow_s + 310 * (completed_s - slow_s)) / completed_s,
    }
    made = record(of, name, load, repeat, measurements)
    made["trial"] |= {"observation_s": window_s}
    made["events"] = [
        {"host": host, "name": event, "data": {} if status is None else {"status": status}, "time_s": time_s}
        for host, event, status, time_s in (
            ("source", "MIGRATION", "active", -0.1),
            ("source", "STOP", None, -stop_s),
            ("source", "MIGRATION", "postcopy-active", -0.01),
            ("destination", "RESUME", None, 0.0),
            ("module", "WINDOW_WALKED", None, 1.0),
            ("destination", "MIGRATION", "completed", completed_s),
            ("module", "OBSERVATION_END", None, window_s),
        )
    ]
    values: dict[str, dict[str, Any]] = {
        "schedstat": {"page_wait_ms": wait_ms, "vcpu_page_wait_ms": [wait_ms], "run_queue_ms": 500.0},
        "cgroup": {"throttled_ms": measurements["throttled_ms"]},
        "qemu_blocktime": {"postcopy_blocktime": 700, "postcopy_vcpu_blocktime": [round(0.9 * wait_ms)]},
        "guest_stalls": {"stalls": requests, "stall_ms": 1.1 * wait_ms, "longest_gap_ms": 100.0},
        "request_trace": {"requests": requests},
    }
    made["instruments"] = {
        instrument: {"present": None not in found.values(), "reason": None, "values": found}
        for instrument, found in values.items()
    }
    return made, {"telemetry.csv": telemetry(rates, -5.0, requests, 1.1 * wait_ms)}


def telemetry(rates: Sequence[float], start_s: float = -1.0, stalls: int = 0, stall_ms: float = 0.0) -> bytes:
    """Make a ``telemetry.csv`` of a guest that walks at ``rates`` (MB/s), each for 0.1 s, and stalls after 0."""
    lines, pages = ["time_s,host,pages,stalls,stall_ms"], 0.0
    for index, rate in enumerate([0.0, *rates]):
        pages += rate * 25.6
        time_s = start_s + index / 10
        waited = f"{stalls},{stall_ms:.3f}" if time_s > 0.05 else "0,0"
        lines.append(f"{time_s:.3f},{'source' if time_s < 0 else 'destination'},{pages:.0f},{waited}")
    return ("\n".join(lines) + "\n").encode()


def write(
    directory: Path,
    of: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Write an experiment; every trial gets the same ``files``."""
    write_experiment(directory, {**of, "scenario_hash": scenario_hash(of["scenario"])})
    for each in records:
        write_record(directory / "trials", each, files)
    return directory


def full(
    directory: Path,
    methods: Sequence[str] = tuple(METHODS),
    windows_mb: Sequence[int] = (8, 64),
    patterns: Sequence[str] = ("sequential",),
    repeats: int = 3,
) -> Path:
    """Write a finished experiment with all four metrics and telemetry, different in every trial."""
    loads = [workload(window, pattern) for pattern in patterns for window in windows_mb]
    of = experiment(methods, loads, repeats)
    write_experiment(directory, of)
    for load in loads:
        for place, name in enumerate(methods, start=1):
            for repeat in range(1, repeats + 1):
                scale = load["window_mb"] * (1 + 0.02 * repeat) / place
                values = {
                    "downtime_ms": 20 * scale,
                    "total_migration_time_s": 0.03 * scale,
                    "page_requests": round(256 * scale),
                    "throughput_mb_per_s": 300.0 + 10 * place + repeat,
                }
                rates = [300.0] * 10 + [60.0 * place + repeat] * 15 + [290.0] * 20
                one = record(of, name, load, repeat, values)
                write_record(
                    directory / "trials", one, {"telemetry.csv": telemetry(rates), "requests.csv": b"time_s\n"}
                )
    return directory
