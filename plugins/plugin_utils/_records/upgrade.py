# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documents of an older form in the newest one: what they could not say yet is as it was then, or null.

Files are never rewritten; only readers see the newer form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_Document = Mapping[str, Any]


def upgraded_experiment(experiment: _Document) -> _Document:
    """Return a valid ``experiment.json`` in the newest form."""
    scenario = experiment["scenario"]
    settings: dict[str, Any] = {"guest": _guest(scenario["guest"])}
    if experiment["schema_version"] == 1:
        settings["workloads"] = [_workload(workload) for workload in scenario["workloads"]]
    return {**experiment, "scenario": {**scenario, **settings}}


def upgraded_record(record: _Document) -> _Document:
    """Return a valid ``record.json`` in the newest form."""
    trial = record["trial"]
    new: dict[str, Any] = {}
    settings: dict[str, Any] = {"guest": _guest(trial["guest"])}
    if record["schema_version"] == 1:
        new = {"calibration": None, "link": None, "window": None, "cautions": []}
        settings["workload"] = _workload(trial["workload"])
    return {**new, **record, "trial": {**trial, **settings}}


def _workload(workload: _Document) -> _Document:
    # The workload program wrote on every visit; what imported data were made with is not known.
    writes = None if workload["work_per_page"] is None else 100
    return {"rate_mb_per_s": None, "writes_percent": writes, **workload}


def _guest(guest: _Document) -> _Document:
    # There was one kind of guest, no choice of what ran it, and nothing in its memory beside system and window; what
    # imported data were made with is not known.
    was = {"system": "debian", "accelerator": "auto", "idle_mb": 0}
    return {**(was if guest["vcpus"] is not None else dict.fromkeys(was)), **guest}
