# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The gate of scenarios: text or mapping in, the normalised scenario or every problem of it out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ...module_utils._method import Method
from ...module_utils._options import PAGES_PER_MB
from .schema import fill, known_methods, place_schema, scenario_schema, validator
from .systems import SYSTEMS, room_mb, size_problems
from .text import parse, yaml_problem
from .words import explain, hint


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
        document = parse(scenario) if isinstance(scenario, str) else scenario
        faults = list(validator().iter_errors(document))
    except ImportError as error:
        raise ScenarioError(["scenarios cannot be checked without jsonschema; install requirements.txt"]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a number too long for Python to show
        raise ScenarioError([f"{source}: {yaml_problem(error)}"]) from error
    problems: dict[str, None] = {}  # a dict keeps the order and drops repetitions
    faulty: list[tuple[str | int, ...]] = []
    for fault in faults:
        faulty.append(tuple(fault.absolute_path))
        problems.update(dict.fromkeys(explain(fault)))
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
    raise ScenarioError([f"{scenario}: no such scenario; {hint(scenario, existing)}"])


def _contradictions(document: Mapping[str, Any], faulty: Sequence[tuple[str | int, ...]]) -> Iterator[str]:
    """Yield problems that the schema cannot see, of those parts that the schema has no complaint about."""

    def sound(*path: str | int) -> bool:
        """Tell whether the schema has no complaint about this place or anything inside it."""
        return not any(fault[: len(path)] == path for fault in faulty)

    def parts(key: str) -> list[tuple[int, Any]]:
        entries = document.get(key)
        return [(i, entry) for i, entry in enumerate(entries) if sound(key, i)] if isinstance(entries, list) else []

    guest = document.get("guest", {})
    filled: dict[str, Any] | None = None
    if isinstance(guest, Mapping) and sound("guest"):
        filled = fill(place_schema("guest"), guest)
        yield from size_problems(filled)
        if filled["system"] == "bare" and filled["thp"] != place_schema("guest", "thp")["default"]:
            yield "guest.thp: a bare guest has no transparent huge pages; remove it, or use 'system: debian'"
    workloads = {i: fill(place_schema("workloads", "[]"), workload) for i, workload in parts("workloads")}
    yield from _repeated("workloads", workloads)
    for i, workload in workloads.items():
        if workload["rate_mb_per_s"] is not None and workload["work_per_page"] is not None:
            yield f"workloads[{i}]: has both rate_mb_per_s and work_per_page, of which each decides the other; keep one"
        if filled is not None:
            yield from _too_large_window(f"workloads[{i}].window_mb", workload["window_mb"], filled)
    methods: dict[int, dict[str, Any]] = {}
    for i, entry in parts("methods"):
        if isinstance(entry, str) and entry not in known_methods():
            known = hint(entry, list(known_methods()))
            yield f"methods[{i}]: no method is called {entry}; {known}; or write {{name: {entry}, ...}} with settings"
        else:
            methods[i] = _method(entry)
    yield from _repeated("methods", {i: method["name"] for i, method in methods.items()})
    for i, method in methods.items():
        yield from _impossible_method(f"methods[{i}]", method, None if filled is None else filled["memory_mb"])


def _too_large_window(place: str, window_mb: int, guest: Mapping[str, Any]) -> Iterator[str]:
    left_mb, idle_mb, own_mb = room_mb(guest), guest["idle_mb"], SYSTEMS[guest["system"]].own_mb
    if 0 < left_mb < window_mb:  # without any room, the guest is what has to change
        taken = f"the {own_mb} MB of its system" + (f" and {idle_mb} idle ones" if idle_mb else "")
        less = "a smaller window or guest.idle_mb" if idle_mb else "a smaller window"
        yield (
            f"{place}: is {window_mb}, but a guest of {guest['memory_mb']} MB has {left_mb} MB beside {taken}; "
            f"use {less}, or guest.memory_mb of at least {window_mb + own_mb + idle_mb}"
        )


def _impossible_method(place: str, method: Mapping[str, Any], memory_mb: int | None) -> Iterator[str]:
    if memory_mb is not None and method["prefetch_pages"] > memory_mb * PAGES_PER_MB:
        yield (
            f"{place}.prefetch_pages: is {method['prefetch_pages']}, but a guest of {memory_mb} MB has "
            f"{memory_mb * PAGES_PER_MB} pages; request no more than that"
        )
    yield from (f"{place}.{problem}" for problem in Method.of(method).problems())


def _repeated(key: str, entries: Mapping[int, Any]) -> Iterator[str]:
    first: list[tuple[int, Any]] = []
    for i, entry in entries.items():
        earlier = next((j for j, other in first if other == entry), None)
        if earlier is None:
            first.append((i, entry))
        else:
            yield f"{key}[{i}]: the same as {key}[{earlier}]; remove one of them (repeats says how often to measure)"


def _method(entry: str | Mapping[str, Any]) -> dict[str, Any]:
    given = {"name": entry} if isinstance(entry, str) else entry
    known = known_methods().get(str(given["name"]), {})
    method: dict[str, Any] = fill(scenario_schema()["$defs"]["method"], {**known, **given})
    return method


def _normalise(document: Mapping[str, Any]) -> dict[str, Any]:
    methods = [_method(entry) for entry in document["methods"]]
    scenario: dict[str, Any] = fill(place_schema(), {**document, "methods": []})
    return {**scenario, "methods": methods}
