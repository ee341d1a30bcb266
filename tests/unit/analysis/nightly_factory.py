# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes nights for tests: experiments on disk whose values scatter as told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import experiment_factory as factory
import numpy as np

USUAL = {"total_migration_time_s": 2.0, "page_requests": 2000.0, "throughput_mb_per_s": 60.0, "sent_kb": 95000.0}
METHODS = ("post-copy", "vcsp")
CELL = "0008mb-sequential-vcsp"


def host(kernel: str = "6.12.0") -> dict[str, Any]:
    return {
        "hostname": "host", "kernel": kernel, "cpu": {"model": "CPU", "count": 2}, "accelerator": {"name": "kvm"},
        "qemu": {"version": "10.0.2"}, "libvirt": {"version": "11.3.0"},
    }  # fmt: skip


def night(
    root: Path,
    number: int,
    factors: Mapping[str, float] | None = None,
    repeats: int = 4,
    kernel: str = "6.12.0",
    spoil: Mapping[int, Mapping[str, Any]] | None = None,
    scatter: float = 0.004,
) -> Path:
    """Write the night ``number`` into ``root``.

    :param factors: measurement -> by what all values of the method "vcsp" are multiplied
    :param spoil: number of a trial, from 0 -> what its record has instead; None: no record at all
    """
    random = np.random.default_rng(number)
    of = factory.experiment(METHODS, [factory.workload(8)], repeats)
    of |= {"experiment_id": f"2026-01-{number:02d}-night", "created_at": f"2026-01-{number:02d}T03:00:00Z"}
    records = []
    for repeat in range(1, repeats + 1):
        for name in METHODS:
            values = {key: usual * float(np.exp(scatter * random.standard_normal())) for key, usual in USUAL.items()}
            if name == "vcsp":
                values = {key: value * (factors or {}).get(key, 1.0) for key, value in values.items()}
            values["page_requests"] = round(values["page_requests"])
            made = factory.record(of, name, None, repeat, values)
            made["provenance"] = {"source": host(kernel), "destination": host(kernel), "controller": {}}
            change = (spoil or {}).get(len(records), {})
            records.append(None if change is None else {**made, **change})
    return factory.write(root / of["experiment_id"], of, [each for each in records if each is not None])


INVALID = {"validity": {"valid": False, "reasons": ["the instruments contradict each other"]}}
CORRUPT = {"memory_verified": False, "validity": {"valid": False, "reasons": ["the guest's memory check failed"]}}


def aged(directory: Path) -> Path:
    """Rewrite the night in ``directory`` as the first version of the format had it, and return it."""
    document = json.loads((directory / "experiment.json").read_text())
    scenario = document["scenario"]
    for key in ("system", "accelerator", "idle_mb"):
        del scenario["guest"][key]
    for workload in scenario["workloads"]:
        del workload["rate_mb_per_s"], workload["writes_percent"]
    document |= {"schema_version": 1, "scenario_hash": factory.scenario_hash(scenario)}
    (directory / "experiment.json").write_text(json.dumps(document))
    for path in directory.glob("trials/*/record.json"):
        record = json.loads(path.read_text())
        record["trial"]["guest"] = scenario["guest"]
        del record["trial"]["workload"]["rate_mb_per_s"], record["trial"]["workload"]["writes_percent"]
        for key in ("calibration", "link", "window", "cautions"):
            del record[key]
        path.write_text(json.dumps({**record, "schema_version": 1}))
    return directory
