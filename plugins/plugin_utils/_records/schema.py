# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an experiment and a record must look like: the JSON schemas, and the rules that a schema cannot express."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry, Resource

from ...module_utils._method import json_schema
from .printable import printable
from .strict_json import unusable_values

# Written; older versions are read, and brought to this one by upgrade.py.
SCHEMA_VERSION = 2
_SCHEMAS = Path(__file__).parent / "schemas"


def record_problems(document: Any, is_parsed: bool = False) -> list[str]:
    """Return what keeps ``document`` from being a record, each as ``<place>: <what is wrong>``; empty if nothing does.

    :param is_parsed: whether it comes from `strict_json.parse`, so that its values need no second check
    """
    return _problems("record", document, is_parsed) or list(_contradictions(document))


def experiment_problems(document: Any, is_parsed: bool = False) -> list[str]:
    """Return what keeps ``document`` from being an ``experiment.json``, as `record_problems` does for a record."""
    return _problems("experiment", document, is_parsed) or list(_repeated_methods(document))


def measurement_names() -> tuple[str, ...]:
    """Return the names of all measurements of a record, units in their names, in the order of the schema."""
    return tuple(_load("record", SCHEMA_VERSION)["properties"]["measurements"]["properties"])


def _problems(kind: str, document: Any, is_parsed: bool) -> list[str]:
    if not isinstance(document, Mapping):
        return [f"not a JSON object, so not {'an' if kind == 'experiment' else 'a'} {kind}"]
    version = document.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        # Reported alone: whatever else differs is not the fault of the document.
        return [
            f"schema_version {printable(str(version), 20)} is newer than {SCHEMA_VERSION}, the newest known here;"
            " read it with the version of vcsp.testbed that wrote it, or a later one"
        ]
    try:
        problems = _schema_problems(kind, document)
        return problems if problems or is_parsed else [printable(odd) for odd in unusable_values(document)]
    except RecursionError:
        return ["nested too deeply"]


def _schema_problems(kind: str, document: Any) -> list[str]:
    version = _version(document)
    try:
        # A hundred times as fast as the validator that can describe errors, and most documents have none.
        if _acceptor(kind, version).is_valid(document):
            return []
    except ValueError:  # values that JSON does not have
        pass
    errors = sorted(_validator(kind, version).iter_errors(document), key=lambda error: error.json_path)
    return [_describe(error) for error in errors]


def _version(document: Mapping[str, Any]) -> int:
    """Return which schema a document has to fit: its own, or the newest if it names none that there is."""
    version = document.get("schema_version")
    if isinstance(version, int | float) and not isinstance(version, bool) and version in range(1, SCHEMA_VERSION + 1):
        return int(version)
    return SCHEMA_VERSION


def _describe(error: ValidationError) -> str:
    place = error.json_path.removeprefix("$").removeprefix(".")
    return printable(f"{place}: {error.message}" if place else error.message)


def _contradictions(record: Mapping[str, Any]) -> Iterator[str]:
    valid, reasons = record["validity"]["valid"], record["validity"]["reasons"]
    if valid and reasons:
        yield "validity: a valid trial has no reasons against it"
    if not valid and not reasons:
        yield "validity: an invalid trial needs a reason"
    if valid and record["memory_verified"] is False:
        yield "validity: a trial whose memory check failed cannot be valid"
    if valid and all(value is None for value in record["measurements"].values()):
        yield "validity: a trial that measured nothing cannot be valid"


def _repeated_methods(experiment: Mapping[str, Any]) -> Iterator[str]:
    names = [method["name"] for method in experiment["scenario"]["methods"]]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"scenario.methods: {name} is listed twice"


@cache
def _acceptor(kind: str, version: int) -> jsonschema_rs.Draft202012Validator:
    registry = jsonschema_rs.Registry([(f"settings-{version}.json", _load("settings", version))])
    return jsonschema_rs.Draft202012Validator(_load(kind, version), registry=registry)


@cache
def _validator(kind: str, version: int) -> Draft202012Validator:
    shared = f"settings-{version}.json"
    registry: Registry[Any] = Registry().with_resource(shared, Resource.from_contents(_load("settings", version)))
    return Draft202012Validator(_load(kind, version), registry=registry)


@cache
def _load(kind: str, version: int) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((_SCHEMAS / f"{kind}-{version}.json").read_text(encoding="utf-8"))
    if kind == "settings":
        method = schema["$defs"]["method"]
        method["properties"] = {**json_schema(), **method["properties"]}
    return schema
