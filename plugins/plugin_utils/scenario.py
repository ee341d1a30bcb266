# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The gate of scenarios: text or mapping in, the normalised scenario or every problem of it out."""

from __future__ import annotations

import copy
import difflib
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ansible_collections.vcsp.testbed.plugins.module_utils._destination.policies import policy

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

PAGES_PER_MB = 256
# What the guest's system and the workload program are given beside the working window.
GUEST_SYSTEM_MB = 160
# Linux refuses a smaller CPU quota (min_cfs_quota_period), and so does libvirt.
SMALLEST_QUOTA_US = 1000


# The largest scenario of this repository holds 130.
MOST_VALUES = 10_000


class ScenarioError(Exception):
    """A scenario that cannot be run.

    :ivar problems: every problem, each ``<source>: <place>: <what is wrong; what to do>``
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


def load(scenario: str | Mapping[str, Any], source: str = "scenario") -> dict[str, Any]:
    """Return the normalised scenario: every key present, methods as mappings, plain Python types.

    :param scenario: YAML text, or the mapping that such a text holds; a normalised scenario comes back unchanged
    :param source: name for messages, e.g. the file name
    :raises ScenarioError: with all problems at once
    """
    try:
        document = _parse(scenario) if isinstance(scenario, str) else scenario
        faults = list(_validator().iter_errors(document))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a number too long for Python to show
        raise ScenarioError([f"{source}: {_yaml_problem(error)}"]) from error
    problems: dict[str, None] = {}  # a dict keeps the order and drops repetitions
    faulty: list[tuple[str | int, ...]] = []
    for fault in faults:
        faulty.append(tuple(fault.absolute_path))
        problems.update(dict.fromkeys(_explain(fault)))
    if isinstance(document, Mapping):
        problems.update(dict.fromkeys(_contradictions(document, faulty)))
    if problems:
        raise ScenarioError([f"{source}: {problem}" for problem in problems])
    return _normalise(document)


def read(path: Path) -> dict[str, Any]:
    """Return the normalised scenario of a file.

    :raises ScenarioError: as :func:`load`, and when the file cannot be read
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError([f"{path}: cannot be read: {error}"]) from error
    return load(text, str(path))


def resolve(scenario: str, directories: Iterable[Path]) -> Path:
    """Return the file of a scenario.

    :param scenario: a path (anything with a ``/`` or ending in .yml or .yaml), or a name: ``quick`` is ``quick.yml`` in
        the first of the directories that has it
    :raises ScenarioError: for a file that does not exist; names those that do
    """
    if "/" in scenario or scenario.endswith((".yml", ".yaml")):
        path = Path(os.path.expanduser(scenario))
        if os.path.isfile(path):  # unlike Path.is_file, false for any path that there cannot be
            return path
        raise ScenarioError([f"{scenario}: no such scenario file; a path is relative to {Path.cwd()}"])
    folders = list(directories)
    for folder in folders:
        path = folder / f"{scenario}.yml"
        if os.path.isfile(path):
            return path
    existing = sorted({path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.yml")})
    raise ScenarioError([f"{scenario}: no such scenario; {_hint(scenario, existing)}"])


@cache
def _data(name: str) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return data


def known_methods() -> dict[str, dict[str, Any]]:
    """Return name -> settings of the methods that every scenario may use by name."""
    return copy.deepcopy(_data("methods.yml"))


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader, which would silently keep the last of two equal keys, made to refuse them.

    It also refuses aliases that stand for very many values: a few lines of them keep a program busy for years.
    """

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _size(node, {}) > MOST_VALUES:
            raise yaml.constructor.ConstructorError(
                None, None, f"with its aliases it holds more than {MOST_VALUES} values", node.start_mark
            )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _value in node.value:
            key = (key_node.tag, key_node.value) if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key_node.value}' stands twice; keep one of them", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _size(node: yaml.Node, known: dict[int, float]) -> float:
    """Count the values under a node, those of an alias each time; without end if it contains itself."""
    if id(node) not in known:
        known[id(node)] = math.inf  # while it is counted
        children = node.value if isinstance(node, yaml.CollectionNode) else ()
        nodes = (part for child in children for part in (child if isinstance(child, tuple) else (child,)))
        known[id(node)] = 1 + sum(_size(part, known) for part in nodes)
    return known[id(node)]


def _parse(text: str) -> Any:
    return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - it is a SafeLoader


def _yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if not mark:
        return f"text: {error}"
    told = (getattr(error, "context", None), getattr(error, "problem", None))
    return f"line {mark.line + 1}, column {mark.column + 1}: {', '.join(part for part in told if part)}"


@cache
def _validator() -> Validator:
    """Return the schema's validator, which knows that true is no number and that .nan and .inf are none either."""
    try:
        # Imported here: documentation tools load the filters with nothing but Ansible installed.
        from jsonschema import Draft202012Validator, validators
    except ImportError as error:
        raise ScenarioError(["scenarios cannot be checked without jsonschema; install requirements.txt"]) from error

    def is_number(_checker: Any, value: Any) -> bool:
        return is_integer(_checker, value) or (isinstance(value, float) and math.isfinite(value))

    def is_integer(_checker: Any, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    types = Draft202012Validator.TYPE_CHECKER.redefine("number", is_number).redefine("integer", is_integer)
    extended: type[Validator] = validators.extend(Draft202012Validator, type_checker=types)  # type: ignore[no-untyped-call]
    return extended(_data("scenario_schema.yml"))


def _explain(fault: ValidationError) -> Iterator[str]:
    """Yield ``<place>: <what is wrong; what to do>`` of one fault against the schema."""
    path = tuple(fault.absolute_path)
    schema: Mapping[str, Any] = fault.schema  # type: ignore[assignment]
    value: Any = fault.instance
    if fault.validator == "additionalProperties":
        known = list(schema["properties"])
        for key in value:
            if key not in known:
                yield f"{_place((*path, key))}: unknown key; {_hint(str(key), known)}"
    elif fault.validator == "required":
        for key in schema["required"]:
            if key not in value:
                yield f"{_place((*path, key))}: missing; give {_expected(schema['properties'][key])}"
    else:
        yield f"{_place(path)}: is {_shown(value)}; must be {_expected(schema)}"


def _expected(schema: Mapping[str, Any]) -> str:
    """Return in words what the schema of one place asks for."""
    if "$ref" in schema:
        schema = _data("scenario_schema.yml")["$defs"][schema["$ref"].rpartition("/")[2]]
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


def _hint(word: str, known: Sequence[str]) -> str:
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


def _contradictions(document: Mapping[str, Any], faulty: Sequence[tuple[str | int, ...]]) -> Iterator[str]:
    """Yield problems that the schema cannot see, of those parts that the schema has no complaint about."""

    def sound(*path: str | int) -> bool:
        """Tell whether the schema has no complaint about this place or anything inside it."""
        return not any(fault[: len(path)] == path for fault in faulty)

    def parts(key: str) -> list[tuple[int, Any]]:
        entries = document.get(key)
        return [(i, entry) for i, entry in enumerate(entries) if sound(key, i)] if isinstance(entries, list) else []

    guest = document.get("guest", {})
    memory_mb = None
    if isinstance(guest, Mapping) and sound("guest", "memory_mb"):
        memory_mb = guest.get("memory_mb", _schema("guest", "memory_mb")["default"])
    workloads = {i: _fill(_schema("workloads", "[]"), workload) for i, workload in parts("workloads")}
    yield from _repeated("workloads", workloads)
    for i, workload in workloads.items():
        if memory_mb is not None and workload["window_mb"] > memory_mb - GUEST_SYSTEM_MB:
            yield (
                f"workloads[{i}].window_mb: is {workload['window_mb']}, but a guest of {memory_mb} MB has "
                f"{memory_mb - GUEST_SYSTEM_MB} MB beside the {GUEST_SYSTEM_MB} MB of its system; "
                f"use a smaller window, or guest.memory_mb of at least {workload['window_mb'] + GUEST_SYSTEM_MB}"
            )
    methods: dict[int, dict[str, Any]] = {}
    for i, entry in parts("methods"):
        if isinstance(entry, str) and entry not in known_methods():
            hint = _hint(entry, list(known_methods()))
            yield f"methods[{i}]: no method is called {entry}; {hint}; or write {{name: {entry}, ...}} with settings"
        else:
            methods[i] = _method(entry)
    yield from _repeated("methods", {i: method["name"] for i, method in methods.items()})
    for i, method in methods.items():
        yield from _impossible_method(f"methods[{i}]", method, memory_mb)


def _impossible_method(place: str, method: Mapping[str, Any], memory_mb: int | None) -> Iterator[str]:
    if memory_mb is not None and method["prefetch_pages"] > memory_mb * PAGES_PER_MB:
        yield (
            f"{place}.prefetch_pages: is {method['prefetch_pages']}, but a guest of {memory_mb} MB has "
            f"{memory_mb * PAGES_PER_MB} pages; ask for no more than that"
        )
    try:
        policy(method["prefetch_policy"], method["prefetch_pages"], method["prefetch_max_pages"])
    except ValueError as error:
        yield f"{place}.{error}"
    if method["transfer"] == "demand" and method["postcopy_preempt"] is False:
        yield (
            f"{place}.postcopy_preempt: is false, but transfer: demand cannot do without it (requested pages would be "
            "held down with the push); use transfer: push"
        )
    percent, period_us = method["vcpu_quota_percent"], method["vcpu_period_us"]
    if percent < 100 and percent * period_us < 100 * SMALLEST_QUOTA_US:
        yield (
            f"{place}.vcpu_quota_percent: {percent} % of a period of {period_us} us is less than the "
            f"{SMALLEST_QUOTA_US} us that Linux can grant; use vcpu_period_us of at least "
            f"{math.ceil(100 * SMALLEST_QUOTA_US / percent)}"
        )


def _repeated(key: str, entries: Mapping[int, Any]) -> Iterator[str]:
    first: list[tuple[int, Any]] = []
    for i, entry in entries.items():
        earlier = next((j for j, other in first if other == entry), None)
        if earlier is None:
            first.append((i, entry))
        else:
            yield f"{key}[{i}]: the same as {key}[{earlier}]; remove one of them (repeats says how often to measure)"


def _schema(*path: str) -> dict[str, Any]:
    """Return the schema of a place; ``[]`` is any entry of a list."""
    schema = _data("scenario_schema.yml")
    for part in path:
        schema = schema["items"] if part == "[]" else schema["properties"][part]
    return schema


def _fill(schema: Mapping[str, Any], value: Any) -> Any:
    """Return a copy of a valid value with the defaults of its schema, in the order of the schema, in plain types."""
    if isinstance(value, dict):
        properties: Mapping[str, Any] = schema["properties"]
        given = {str(key): value[key] for key in value}
        return {
            key: _fill(part, given.get(key, part.get("default")))
            for key, part in properties.items()
            if key in given or "default" in part
        }
    if isinstance(value, list):
        return [_fill(schema["items"], entry) for entry in value]
    if isinstance(value, float):
        return int(value) if value.is_integer() else float(value)  # 5.0 and 5 are the same scenario
    if isinstance(value, str):
        return str(value)
    return value if value is None or isinstance(value, bool) else int(value)


def _method(entry: str | Mapping[str, Any]) -> dict[str, Any]:
    given = {"name": entry} if isinstance(entry, str) else entry
    known = known_methods().get(str(given["name"]), {})
    method: dict[str, Any] = _fill(_data("scenario_schema.yml")["$defs"]["method"], {**known, **given})
    return method


def _normalise(document: Mapping[str, Any]) -> dict[str, Any]:
    methods = [_method(entry) for entry in document["methods"]]
    scenario: dict[str, Any] = _fill(_schema(), {**document, "methods": []})
    return {**scenario, "methods": methods}
