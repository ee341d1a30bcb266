# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: T201 - printing is what a benchmark is for
"""How long the tables and figures of very many trials take: ``python benchmarks/analysis_10k.py [TRIALS [DIR]]``.

Makes two experiments (10,000 trials each by default) in a temporary directory, of the trials of the experiment in DIR
over and over, without their request traces, or synthesised. Then it runs, each in its own process:
what pandas needs to read the same values from JSON, all tables of a report, the whole ``report`` (tables, figures and
page), and ``compare``. Prints the processor time and peak resident memory of each. Exits with 1 if one takes longer
than 20 s or more than 1 GiB, or if the tables take more than twice what pandas does.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import_module("benchmarks")  # which makes ansible_collections.vcsp.testbed importable

LIMIT_S = 20.0
LIMIT_MIB = 1024.0
LIMIT_RATIO = 2.0
WINDOWS_MB = (8, 16, 32, 64)
# name -> quota in percent, prefetched pages, downtime as a fraction of post-copy's
METHODS = {
    "post-copy": (100, 1, 1.0),
    "post-copy-prefetching": (100, 10, 0.5),
    "vcsp": (50, 1, 0.95),
    "vcsp-prefetching": (50, 10, 0.45),
}
HOST = {
    "qemu": {"version": "10.0.2", "major": 10},
    "libvirt": {"version": "11.3.0"},
    "accelerator": {"name": "kvm", "reason": "a kernel boots with it"},
    "cpu": {"model": "synthetic", "count": 16},
    "kernel": "6.12.0",
    "memory": {"total_mb": 65536, "available_mb": 60000},
}


def synthesise(directory: Path, trials: int, seed: int) -> None:
    """Write an experiment as the testbed does, but without syncing each file to disk."""
    from ansible_collections.vcsp.testbed.analysis.data.telemetry import TELEMETRY_FILE
    from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import (
        EXPERIMENT_FILE,
        RECORD_FILE,
        TRIALS_DIRECTORY,
        scenario_hash,
    )

    random = np.random.default_rng(seed)
    repeats = -(-trials // (len(WINDOWS_MB) * len(METHODS)))
    scenario = _scenario(repeats)
    experiment = {
        "schema_version": 1,
        "experiment_id": f"synthetic-{seed}",
        "scenario": scenario,
        "scenario_hash": scenario_hash(scenario),
        "created_at": "2026-01-31T23:59:59Z",
        "provenance": {},
    }
    directory.mkdir()
    (directory / EXPERIMENT_FILE).write_text(json.dumps(experiment))
    for record, telemetry in _trials(experiment, random):
        trial = directory / TRIALS_DIRECTORY / record["trial"]["id"]
        trial.mkdir(parents=True)
        (trial / RECORD_FILE).write_text(json.dumps(record, indent=2))
        (trial / TELEMETRY_FILE).write_text(telemetry)


def multiply(source: Path, directory: Path, trials: int) -> None:
    """Write an experiment of at least so many trials, which are copies of those of the finished one in ``source``."""
    from ansible_collections.vcsp.testbed.analysis.data.telemetry import TELEMETRY_FILE
    from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import (
        EXPERIMENT_FILE,
        RECORD_FILE,
        TRIALS_DIRECTORY,
        read_experiment,
        scenario_hash,
    )
    from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.trials import trial_id

    found = read_experiment(source)
    cells: dict[tuple[str, str], list[Any]] = {}
    for record in found.records:
        cells.setdefault((record.cell.workload, record.cell.method), []).append(record)
    repeats = -(-trials // len(cells))
    scenario = {**found.scenario, "repeats": repeats}
    experiment = {**found.experiment, "scenario": scenario, "scenario_hash": scenario_hash(scenario)}
    directory.mkdir()
    (directory / EXPERIMENT_FILE).write_text(json.dumps(experiment))
    for repeat in range(1, repeats + 1):
        for (_, method), records in cells.items():
            record = records[(repeat - 1) % len(records)]
            trial = record.data["trial"]
            name = str(trial_id(scenario["workloads"], repeat, trial["workload"], method))
            copy = {**record.data, "trial": {**trial, "id": name, "repeat": repeat, "total": repeats * len(cells)}}
            path = directory / TRIALS_DIRECTORY / name
            path.mkdir(parents=True)
            (path / RECORD_FILE).write_text(json.dumps(copy, indent=2))
            (path / TELEMETRY_FILE).write_bytes((record.directory / TELEMETRY_FILE).read_bytes())


def _scenario(repeats: int) -> dict[str, Any]:
    return {
        "name": "synthetic",
        "repeats": repeats,
        "seed": 1,
        "guest": {"memory_mb": 512, "vcpus": 1, "thp": "madvise"},
        "link": {"rate_mbit": 1000},
        "baseline_s": 5,
        "observation_s": None,
        "workloads": [{"window_mb": window, "pattern": "sequential", "work_per_page": 20} for window in WINDOWS_MB],
        "methods": [
            {
                "name": name,
                "vcpu_quota_percent": quota,
                "vcpu_period_us": 10000,
                "prefetch_pages": pages,
                "transfer": "demand",
            }
            for name, (quota, pages, _) in METHODS.items()
        ],
    }


def _trials(experiment: dict[str, Any], random: np.random.Generator) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each trial's record and telemetry."""
    scenario = experiment["scenario"]
    total = scenario["repeats"] * len(scenario["workloads"]) * len(scenario["methods"])
    index = 0
    for repeat in range(1, scenario["repeats"] + 1):
        for workload in scenario["workloads"]:
            for method in scenario["methods"]:
                index += 1
                record = {
                    "schema_version": 1,
                    "experiment_id": experiment["experiment_id"],
                    "trial": {
                        "id": f"r{repeat:04d}-{workload['window_mb']:04d}mb-sequential-{method['name']}",
                        "index": index,
                        "total": total,
                        "repeat": repeat,
                        "workload": workload,
                        "method": method,
                        "guest": scenario["guest"],
                        "link": scenario["link"],
                        "baseline_s": 5,
                        "observation_s": 8.0,
                    },
                    "started_at": "2026-02-01T00:01:00Z",
                    "ended_at": "2026-02-01T00:01:18Z",
                    "provenance": {
                        "source": {**HOST, "hostname": "source"},
                        "destination": {**HOST, "hostname": "destination"},
                        "controller": {"collection": "0.1.0", "commit": "abc"},
                    },
                    **_readings(workload["window_mb"], method, random),
                    "clock_offset": {"offset_ms": 0.1, "bound_ms": 0.4},
                    "memory_verified": True,
                    "validity": {"valid": True, "reasons": []},
                }
                stalls = record["instruments"]["guest_stalls"]["values"]
                yield record, _telemetry(record["measurements"]["throughput_mb_per_s"], **stalls)


def _readings(window_mb: int, method: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
    """Return the events, measurements and instruments of one trial, scattered by 10 %."""
    factor = METHODS[method["name"]][2] * float(np.exp(0.1 * random.standard_normal()))
    wait_ms, blackout_ms, total_s = (
        20 * window_mb * factor,
        20.0 + float(random.random()),
        1 + 0.04 * window_mb * factor,
    )
    requests = round(256 * window_mb * (0.2 if method["prefetch_pages"] > 1 else 1) * factor)
    throughput = 300 / factor
    throttled_ms = 400.0 if method["vcpu_quota_percent"] < 100 else None
    events = [
        {"host": host, "name": name, "data": data, "time_s": time_s}
        for host, name, data, time_s in (
            ("source", "MIGRATION", {"status": "active"}, -0.2),
            ("source", "MIGRATION_PASS", {"pass": 1}, -0.15),
            ("source", "STOP", {}, -blackout_ms / 1000),
            ("source", "MIGRATION", {"status": "postcopy-active"}, -0.01),
            ("destination", "RESUME", {}, 0.0),
            ("module", "WINDOW_WALKED", {}, 0.8),
            ("destination", "MIGRATION", {"status": "completed"}, total_s),
            ("source", "MIGRATION", {"status": "completed"}, total_s + 0.001),
            ("module", "OBSERVATION_END", {}, 8.0),
        )
    ]
    measurements = {
        "downtime_ms": wait_ms + blackout_ms,
        "stop_and_copy_ms": blackout_ms,
        "page_wait_ms": wait_ms,
        "total_migration_time_s": total_s + blackout_ms / 1000,
        "page_requests": requests,
        "pages_sent": 23604,
        "sent_kb": 95841.7,
        "throughput_mb_per_s": throughput,
        "baseline_mb_per_s": 610.0,
        "steady_mb_per_s": 580.0,
        "stall_loss_s": 8 * (1 - throughput / 580),
        "slow_down_percent": 100 * (1 - 580 / 610),
        "throttled_ms": throttled_ms,
        "window_walk_s": 0.8,
        "postcopy_rate_mb_per_s": throughput,
        "link_mbit_per_s": 95841.7 * 1024 * 8 / 1e6 / (total_s + blackout_ms / 1000),
    }
    values: dict[str, dict[str, Any]] = {
        "schedstat": {"page_wait_ms": wait_ms, "run_queue_ms": (throttled_ms or 0) + 80.0},
        "guest_stalls": {"stalls": requests, "stall_ms": 1.1 * wait_ms, "longest_gap_ms": 100.0},
        "qemu_blocktime": {"postcopy_blocktime": 800, "postcopy_vcpu_blocktime": [round(0.8 * wait_ms)]},
        "request_trace": {"requests": requests, "asked_kb": 4.0 * requests, "sent_kb": 40.0 * requests},
        "huge_pages": {"destination_mb": 4.0, "destination_thp": "madvise"},
    }
    instruments = {name: {"present": True, "reason": None, "values": value} for name, value in values.items()}
    return {"events": events, "measurements": measurements, "instruments": instruments}


def _telemetry(mb_per_s: float, stalls: int, stall_ms: float, longest_gap_ms: float) -> str:
    """Return 13 s of a guest's reports, with a rate and stalls that the record agrees with."""
    rows = []
    for number in range(132):
        time_s = number * longest_gap_ms / 1000 - 5
        waited = f"{stalls},{stall_ms:.3f}" if time_s > 0 else "0,0.000"
        rows.append(f"{time_s:.4f},source,{number * mb_per_s * 25.6:.0f},{waited}")
    return "\n".join(["time_s,host,pages,stalls,stall_ms", *rows, ""])


def measure(what: str, baseline: Path, new: Path) -> int:
    """Run one of the measured tasks, print what it took, and return the exit status."""
    begin = time.process_time()
    if what == "pandas":
        import pandas as pd

        paths = (new / "trials").glob("*/record.json")
        records: Any = [pd.read_json(path, typ="series", dtype=False).to_dict() for path in paths]
        print(pd.json_normalize(records).shape[1], end=" columns; ")
    elif what == "json":
        import pandas as pd

        paths = (new / "trials").glob("*/record.json")
        print(pd.json_normalize([json.loads(path.read_bytes()) for path in paths]).shape[1], end=" columns; ")
    elif what == "tables":
        from ansible_collections.vcsp.testbed.analysis.presentation.tables import table3_markdown, text_table
        from ansible_collections.vcsp.testbed.analysis.summary import summarise

        summary = summarise(new)
        assert len(summary.experiment.records) == len(summary.experiment.planned)
        print(len(text_table(summary)), len(table3_markdown(summary)), end=" characters; ")
    elif what == "report":
        from ansible_collections.vcsp.testbed.analysis.report import report

        report(new)
    else:
        from ansible_collections.vcsp.testbed.analysis.comparison import compare
        from ansible_collections.vcsp.testbed.analysis.presentation.comparison import comparison_text

        print(len(comparison_text(compare(baseline, new, 10))), end=" characters; ")
    seconds = time.process_time() - begin
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (new.parent / what).write_text(str(seconds))
    print(f"{what}: {seconds:.1f} s, peak {peak_mib:.0f} MiB (limits {LIMIT_S:.0f} s, {LIMIT_MIB:.0f} MiB)")
    return int(seconds > LIMIT_S or peak_mib > LIMIT_MIB)


def main() -> int:
    """Synthesise here and measure in separate processes, so that each peak is that task's alone."""
    if len(sys.argv) == 5 and sys.argv[1] == "--measure":
        return measure(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    source = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory() as directory:
        baseline, new = Path(directory) / "baseline", Path(directory) / "new"
        for seed, path in enumerate((baseline, new)):
            if source is None:
                synthesise(path, trials, seed)
            else:
                multiply(source, path, trials)
        print(f"{trials} trials per experiment")
        command = [sys.executable, __file__, "--measure"]
        found = [
            subprocess.run([*command, what, str(baseline), str(new)], check=False).returncode
            for what in ("json", "pandas", "tables", "report", "compare")
        ]
        pandas_s, tables_s = (float((Path(directory) / what).read_text()) for what in ("pandas", "tables"))
        ratio = tables_s / pandas_s
        print(
            f"tables take {ratio:.2f} times what pandas needs to read the same values from JSON (limit {LIMIT_RATIO:g})"
        )
    return max(*found, int(ratio > LIMIT_RATIO))


if __name__ == "__main__":
    sys.exit(main())
