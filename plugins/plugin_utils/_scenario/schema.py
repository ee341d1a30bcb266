# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The form of a scenario: schema, defaults and known methods."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ...module_utils._method import json_schema

if TYPE_CHECKING:
    from jsonschema.protocols import Validator


@cache
def _data(name: str) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return data


@cache
def scenario_schema() -> dict[str, Any]:
    """Return the JSON schema of a scenario: schema.yml, with a method's settings from their one table."""
    schema = _data("schema.yml")
    schema["$defs"]["method"]["properties"].update(json_schema())
    return schema


def known_methods() -> dict[str, dict[str, Any]]:
    """Return name -> settings that differ from the defaults, of the methods that every scenario may use by name."""
    return copy.deepcopy(_data("methods.yml"))


def place_schema(*path: str) -> dict[str, Any]:
    """Return the schema of a place; ``[]`` is any entry of a list."""
    schema = scenario_schema()
    for part in path:
        schema = schema["items"] if part == "[]" else schema["properties"][part]
    return schema


@cache
def validator() -> Validator:
    """Return the schema's validator, which knows that true is no number and that .nan and .inf are none either."""
    # Imported here: documentation tools load the filters with nothing but Ansible installed.
    from jsonschema import Draft202012Validator, validators

    def is_number(_checker: Any, value: Any) -> bool:
        return is_integer(_checker, value) or (isinstance(value, float) and math.isfinite(value))

    def is_integer(_checker: Any, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    types = Draft202012Validator.TYPE_CHECKER.redefine("number", is_number).redefine("integer", is_integer)
    extended: type[Validator] = validators.extend(Draft202012Validator, type_checker=types)  # type: ignore[no-untyped-call]
    return extended(scenario_schema())


def fill(schema: Mapping[str, Any], value: Any) -> Any:
    """Return a copy of a valid value with the defaults of its schema, in the order of the schema, in plain types."""
    if isinstance(value, dict):
        properties: Mapping[str, Any] = schema["properties"]
        given = {str(key): value[key] for key in value}
        return {
            key: fill(part, given.get(key, part.get("default")))
            for key, part in properties.items()
            if key in given or "default" in part
        }
    if isinstance(value, list):
        return [fill(schema["items"], entry) for entry in value]
    if isinstance(value, float):
        return int(value) if value.is_integer() else float(value)  # 5.0 and 5 are the same scenario
    if isinstance(value, str):
        return str(value)
    return value if value is None or isinstance(value, bool) else int(value)
