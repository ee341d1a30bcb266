# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documents of an older schema_version in the form of the newest: what they could not say yet is null.

Files are never rewritten; only readers see the newer form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_Document = Mapping[str, Any]


def upgraded_experiment(experiment: _Document) -> _Document:
    """Return a valid ``experiment.json`` in the newest form."""
    if experiment["schema_version"] > 1:
        return experiment
    scenario = experiment["scenario"]
    workloads = [_workload(workload) for workload in scenario["workloads"]]
    return {**experiment, "scenario": {**scenario, "workloads": workloads, "guest": _guest(scenario["guest"])}}


def upgraded_record(record: _Document) -> _Document:
    """Return a valid ``record.json`` in the newest form."""
    if record["schema_version"] > 1:
        return record
    trial = record["trial"]
    new: dict[str, Any] = {"calibration": None, "link": None, "window": None, "cautions": []}
    settings = {"workload": _workload(trial["workload"]), "guest": _guest(trial["guest"])}
    return {**new, **record, "trial": {**trial, **settings}}


def _workload(workload: _Document) -> _Document:
    # The workload program wrote on every visit; what imported data were made with is not known.
    writes = None if workload["work_per_page"] is None else 100
    return {"rate_mb_per_s": None, "writes_percent": writes, **workload}


def _guest(guest: _Document) -> _Document:
    # There was one kind of guest, and no choice of what ran it; what imported data were made with is not known.
    ours = guest["vcpus"] is not None
    return {"system": "debian" if ours else None, "accelerator": "auto" if ours else None, **guest}
