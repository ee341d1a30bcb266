# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with a scenario, in words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .schema import scenario_schema

if TYPE_CHECKING:
    from jsonschema import ValidationError


def explain(fault: ValidationError) -> Iterator[str]:
    """Yield ``<place>: <what is wrong; what to do>`` of one fault against the schema."""
    path = tuple(fault.absolute_path)
    schema: Mapping[str, Any] = fault.schema  # type: ignore[assignment]
    value: Any = fault.instance
    if fault.validator == "additionalProperties":
        known = list(schema["properties"])
        for key in value:
            if key not in known:
                yield f"{_place((*path, key))}: unknown key; {hint(str(key), known)}"
    elif fault.validator == "required":
        for key in schema["required"]:
            if key not in value:
                yield f"{_place((*path, key))}: missing; give {expected(schema['properties'][key])}"
    else:
        yield f"{_place(path)}: is {_shown(value)}; must be {expected(schema)}"


def expected(schema: Mapping[str, Any]) -> str:
    """Return in words what the schema of one place asks for."""
    if "$ref" in schema:
        schema = scenario_schema()["$defs"][schema["$ref"].rpartition("/")[2]]
    if "description" in schema:
        return str(schema["description"])
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if kinds[0] == "object":
        return "a mapping with the keys " + ", ".join(schema["properties"])
    if kinds[0] == "array":
        return "a list with at least one entry"
    if kinds[0] == "boolean":
        return "true or false" + (" or null" if "null" in kinds else "")
    words = "a whole number" if kinds[0] == "integer" else "a number"
    if "maximum" in schema:
        words += f" from {schema['minimum']} to {schema['maximum']}"
    elif "minimum" in schema:
        words += f" of at least {schema['minimum']}"
    return words + (" or null" if "null" in kinds else "")


def hint(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    listed = ", ".join(known) or "none"
    return f"did you mean {near[0]}? (known: {listed})" if near else f"known: {listed}"


def _place(path: Iterable[Any]) -> str:
    """Return a path as ``workloads[1].window_mb``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) and text else f".{part}" if text else str(part)
    return text or "top level"


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
