# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From what a trial returned to the record that is kept."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...module_utils._link import NO_QUICKACK, lacks_quickack
from ...module_utils._method import Method
from .._records.schema import (
    SCHEMA_VERSION,
    measurement_names,
    record_problems,
)

HOSTS = ("source", "destination", "controller")
_ZLIB_OR_GZIP = 47  # zlib's wbits


def build(
    experiment_id: str,
    trial: Mapping[str, Any],
    result: Mapping[str, Any],
    failure: str | None,
    provenance: Mapping[str, Any],
    files_dir: Path | None = None,
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the record of a trial and the files that go beside it.

    If it makes no valid record, the result is the record of a failed trial with that as its reason: every trial leaves
    a record, whatever happened.

    :param result: return value of vcsp.testbed.postcopy_migration, for a failed trial as much of it as there is, and
        ``calibration`` and ``link``, both null if they are not known
    :param failure: why the trial failed; None if it did not
    :param provenance: facts of ``source``, ``destination`` and ``controller``; where there are several pairs, those of
        each one's hosts are under its name in ``pairs``
    :param files_dir: where the files are that the result names as ``stored_files``
    """
    try:
        files = {name: _unpack(_decode(content)) for name, content in (result.get("files") or {}).items()}
        if files_dir is not None:
            paths = [files_dir / Path(path).name for path in result.get("stored_files") or []]
            files |= {path.stem: _unpack(path.read_bytes()) for path in paths}
        record = unchecked(experiment_id, trial, result, failure, provenance)
        problems = record_problems(record)
    except (_PackingError, AttributeError, KeyError, OSError, TypeError) as error:
        problems = [f"{type(error).__name__}: {error}"]
    if problems:
        reasons = [failure] if failure else []
        reasons.append(f"what the trial returned is not a valid record: {'; '.join(problems)}")
        files, record = {}, unchecked(experiment_id, trial, {}, " / ".join(reasons), provenance)
    return record, files


class _PackingError(Exception):
    """A file did not arrive intact."""


def _decode(content: str) -> bytes:
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _PackingError(f"files: not base64: {error}") from error


def _unpack(content: bytes) -> bytes:
    try:
        return zlib.decompress(content, wbits=_ZLIB_OR_GZIP)
    except zlib.error as error:
        raise _PackingError(f"files: not compressed with zlib or gzip: {error}") from error


def unchecked(
    experiment_id: str,
    trial: Mapping[str, Any],
    result: Mapping[str, Any],
    failure: str | None,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the record; that of a failed trial keeps the evidence (events, instruments) but no measurements."""
    nothing = dict.fromkeys(measurement_names())
    hosts = {**provenance, **(provenance.get("pairs") or {}).get(trial.get("pair"), {})}
    return {
        "schema_version": SCHEMA_VERSION,
        "experiment_id": experiment_id,
        "trial": trial,
        "started_at": result.get("started_at"),
        "ended_at": result.get("ended_at"),
        "provenance": {host: hosts.get(host) or {} for host in HOSTS},
        "events": result.get("events") or [],
        "clock_offset": result.get("clock_offset"),
        "calibration": result.get("calibration"),
        "link": result.get("link"),
        "window": result.get("window"),
        "measurements": nothing if failure else {**nothing, **(result.get("measurements") or {})},
        "instruments": result.get("instruments") or {},
        "memory_verified": result.get("memory_verified"),
        "cautions": [*(result.get("cautions") or []), *_of_the_link(trial, result.get("link"))],
        "validity": _validity(result.get("validity"), failure),
    }


def _of_the_link(trial: Mapping[str, Any], link: Mapping[str, Any] | None) -> list[str]:
    """Return what the link makes of the trial's method."""
    return [NO_QUICKACK] if lacks_quickack(link) and Method.of(trial["method"]).prefetches else []


def _validity(reported: Mapping[str, Any] | None, failure: str | None) -> dict[str, Any]:
    if failure:
        return {"valid": False, "reasons": [failure]}
    if reported is None:
        return {"valid": False, "reasons": ["the trial did not say whether it is valid"]}
    return {"valid": reported["valid"], "reasons": list(reported["reasons"])}
