# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The results of an experiment on disk: written whole or not at all, checked when read.

A directory holds ``experiment.json`` and ``trials/<trial id>/record.json``, the latter beside what the trial recorded
over time (``telemetry.csv``, ``requests.csv``). Names with a leading dot are unfinished work and ignored.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ...module_utils._method import Method
from .._scenario.trials import trial_id
from .atomic import write_directory, write_file
from .errors import InputError
from .events import time_of_s
from .printable import printable
from .regular import read_regular
from .schema import experiment_problems, record_problems
from .strict_json import parse
from .upgrade import upgraded_experiment, upgraded_record
from .validity import broken_rules

EXPERIMENT_FILE = "experiment.json"
TRIALS_DIRECTORY = "trials"
RECORD_FILE = "record.json"
NOT_STATED = "workload not stated"
# A record has some 10 KiB, an experiment of a thousand methods has less than 1 MiB.
_MOST_MIB = 64
_MOST_REASONS = 20


def workload_label(workload: Mapping[str, Any]) -> str:
    """Name a workload by all of its settings, so that two that differ have different names.

    Settings that are null, as in imported data, are left out, and so is that every visit writes; with none left the
    name is "workload not stated".
    """
    window_mb, pattern, work = workload["window_mb"], workload["pattern"], workload["work_per_page"]
    rate, writes = workload["rate_mb_per_s"], workload["writes_percent"]
    parts = (
        None if window_mb is None else f"{int(window_mb)} MB",  # 8.0 is 8 in JSON
        pattern,
        None if rate is None else f"{rate:g} MB/s",
        None if work is None else f"work {int(work)}",
        None if writes in (None, 100) else f"{int(writes)} % writes",
    )
    return " ".join(part for part in parts if part is not None) or NOT_STATED


@dataclass(frozen=True)
class Cell:
    """A trial that the scenario asks for; ``workload`` is a label, ``repeat`` counts from 1.

    :ivar stack: None where the experiment compares none
    """

    repeat: int
    workload: str
    method: str
    stack: str | None = None


@dataclass(frozen=True)
class Record:
    """A trial that was read: its directory and all of its ``record.json``.

    :ivar broken_rules: why it is not valid although it claims to be (see ``validity``)
    """

    directory: Path
    data: Mapping[str, Any]
    broken_rules: tuple[str, ...] = ()

    @property
    def trial_id(self) -> str:
        """The trial's id, which is also the name of its directory."""
        return str(self.data["trial"]["id"])

    @cached_property
    def cell(self) -> Cell:
        """Which of the scenario's trials this is."""
        trial = self.data["trial"]
        return Cell(trial["repeat"], workload_label(trial["workload"]), trial["method"]["name"], self.stack)

    @property
    def pair(self) -> str | None:
        """The pair of hosts that ran it; None where the inventory names none."""
        name: str | None = self.data["trial"].get("pair")
        return name

    @property
    def stack(self) -> str | None:
        """The stack that it ran on; None where the experiment compares none."""
        name: str | None = self.data["trial"].get("stack")
        return name

    @property
    def method(self) -> Method:
        """The settings of the trial's method; one that the record does not state has its default."""
        return Method.of(self.data["trial"]["method"])

    def reading(self, instrument: str, value: str) -> float | None:
        """Return a number that an instrument read, given both names; None if it is absent or not a number."""
        found = self.readings(instrument).get(value)
        return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None

    def readings(self, instrument: str) -> Mapping[str, Any]:
        """Return all that an instrument read, in its own form; empty when it is absent."""
        entry = self.data["instruments"].get(instrument)
        values: Mapping[str, Any] = entry["values"] if entry and entry["present"] else {}
        return values

    @property
    def lost(self) -> bool:
        """Whether the migration went into post-copy but did not end inside the observation window.

        A loss is an outcome, and not run again when an experiment is resumed: such trials are the slowest, so means
        without them are too good, and a second chance for them alone would hide that.
        """
        events, window_s = self.data["events"], self.data["trial"]["observation_s"]
        if self.valid or time_of_s(events, "source", "MIGRATION", "postcopy-active") is None:
            return False
        completed_s = time_of_s(events, "destination", "MIGRATION", "completed")
        if completed_s is None:
            return time_of_s(events, "module", "OBSERVATION_END") is not None
        return window_s is not None and completed_s > window_s

    @property
    def valid(self) -> bool:
        """Whether the trial may enter a mean."""
        return bool(self.data["validity"]["valid"]) and not self.broken_rules

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the trial is not valid: each a line, and no more of them than anybody would read."""
        found = (*self.data["validity"]["reasons"], *self.broken_rules)
        more = (f"and {len(found) - _MOST_REASONS} more",) if len(found) > _MOST_REASONS else ()
        return (*(printable(reason) for reason in found[:_MOST_REASONS]), *more)


@dataclass(frozen=True)
class Skipped:
    """An entry of ``trials/`` that was not used, and why; both safe to print."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class Experiment:
    """An experiment as it is on disk now, finished or not.

    :ivar experiment: the content of ``experiment.json``
    :ivar records: the readable trials, valid or not, by trial id
    """

    directory: Path
    experiment: Mapping[str, Any]
    records: tuple[Record, ...]
    skipped: tuple[Skipped, ...]

    @property
    def scenario(self) -> Mapping[str, Any]:
        """The normalised scenario."""
        scenario: Mapping[str, Any] = self.experiment["scenario"]
        return scenario

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods in the order of the scenario."""
        return tuple(method["name"] for method in self.scenario["methods"])

    @property
    def stacks(self) -> tuple[str, ...]:
        """Names of the stacks that it compares, the reference first; empty where it compares none."""
        return tuple(self.experiment.get("stacks") or ())

    def of_stack(self, stack: str) -> Experiment:
        """Return what one of its stacks measured, as an experiment of that stack alone."""
        records = tuple(record for record in self.records if record.stack == stack)
        return replace(self, experiment={**self.experiment, "stacks": [stack]}, records=records)

    @cached_property
    def planned(self) -> tuple[Cell, ...]:
        """Every trial that the scenario asks for, by workload, method, stack and repeat."""
        return tuple(
            Cell(repeat, workload_label(workload), method, stack)
            for workload in self.scenario["workloads"]
            for method in self.methods
            for stack in self.stacks or (None,)
            for repeat in range(1, self.scenario["repeats"] + 1)
        )

    @property
    def invalid(self) -> tuple[Skipped, ...]:
        """The readable trials that enter no mean."""
        return tuple(Skipped(each.trial_id, "; ".join(each.reasons)) for each in self.records if not each.valid)

    @cached_property
    def missing(self) -> tuple[Cell, ...]:
        """The planned trials without a readable record, in the order of `planned`."""
        have = {record.cell for record in self.records}
        return tuple(cell for cell in self.planned if cell not in have)


def scenario_hash(scenario: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of a normalised scenario as canonical JSON: keys sorted, no spaces, UTF-8."""
    canonical = json.dumps(scenario, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def write_experiment(directory: Path, experiment: Mapping[str, Any]) -> Path:
    """Write ``experiment.json`` into ``directory``, made if need be, and return its path.

    :raises InputError: ``experiment`` does not fit its schema
    :raises OSError: the directory is not writable
    """
    _refuse("not a valid experiment", experiment_problems(experiment))
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / EXPERIMENT_FILE
    write_file(path, _to_json(experiment))
    return path


def write_record(trial_dir_parent: Path, record: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> Path:
    """Write a trial as a whole into ``trial_dir_parent``, the ``trials`` directory, and return its own directory.

    An older record of the same trial is replaced together with its files: a crash leaves the old one or the new one,
    never a mixture.

    :param files: plain file name, such as ``telemetry.csv`` -> content
    :raises InputError: the record does not fit its schema, or a file name is not a plain one
    :raises OSError: the directory is not writable, or the disk is full
    """
    files = files or {}
    _refuse("not a valid record", record_problems(record))
    _refuse("bad name for a file of the trial", [repr(name) for name in files if not _is_plain(name)])
    trial_dir_parent.mkdir(parents=True, exist_ok=True)
    path = trial_dir_parent / str(record["trial"]["id"])
    write_directory(path, {**files, RECORD_FILE: _to_json(record)})
    return path


def read_experiment(directory: Path) -> Experiment:
    """Read an experiment; trials that cannot be used are skipped, each with its reason.

    :raises InputError: ``directory`` holds no readable ``experiment.json`` of a known schema_version
    """
    experiment = _read_experiment_file(directory / EXPERIMENT_FILE)
    ids = _planned_ids(experiment)
    names = set(ids.values())
    found: dict[Cell, list[Record]] = defaultdict(list)
    skipped = []
    for path in _entries(directory / TRIALS_DIRECTORY):
        try:
            record = _read_record(path, experiment)
            if ids.get(record.cell) != record.trial_id and record.trial_id in names:
                raise _UnusableError(f"its repeat, workload and method are not those of {record.trial_id}")
            found[record.cell].append(record)
        except _UnusableError as error:
            skipped.append(Skipped(printable(path.name), printable(str(error))))
    records = []
    for cell, twins in found.items():
        # A copy of a record, under whatever name, does not take the place of the trial that the plan names so.
        own = [twin for twin in twins if twin.trial_id == ids[cell]] or twins
        records += own if len(own) == 1 else []
        for twin in twins if len(own) > 1 else [each for each in twins if each is not own[0]]:
            others = ", ".join(each.trial_id for each in twins if each is not twin)
            skipped.append(Skipped(twin.trial_id, printable(f"the same repeat, workload and method as {others}")))
    return Experiment(directory, experiment, tuple(records), tuple(skipped))


class _UnusableError(Exception):
    """An entry of ``trials/`` that cannot be used; the message is the reason."""


def _read_experiment_file(path: Path) -> Mapping[str, Any]:
    try:
        experiment: Mapping[str, Any] = parse(read_regular(path, _MOST_MIB))
    except FileNotFoundError:
        raise InputError(
            f"{path}: there is no such file; give the directory of an experiment, such as results/latest"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not usable JSON: {printable(str(error))}; restore the file") from None
    problems = experiment_problems(experiment, is_parsed=True)
    if problems:
        raise InputError(f"{path}: " + "; ".join(problems))
    if experiment["scenario_hash"] != scenario_hash(experiment["scenario"]):
        raise InputError(f"{path}: its scenario was changed: it does not have the scenario_hash; restore the file")
    return upgraded_experiment(experiment)


def _entries(trials: Path) -> Iterator[Path]:
    try:
        entries = sorted(trials.iterdir())
    except FileNotFoundError:  # no trial has ended yet
        return
    except OSError as error:
        raise InputError(f"{trials}: cannot be read: {error.strerror}") from None
    yield from (entry for entry in entries if not entry.name.startswith("."))


def _read_record(directory: Path, experiment: Mapping[str, Any]) -> Record:
    try:
        data = parse(read_regular(directory / RECORD_FILE, _MOST_MIB))
    except FileNotFoundError:
        raise _UnusableError(f"no {RECORD_FILE}") from None
    except OSError as error:
        raise _UnusableError(f"{RECORD_FILE} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise _UnusableError(f"{RECORD_FILE} is truncated or not usable JSON: {error}") from None
    problems = record_problems(data, is_parsed=True)
    if problems:
        raise _UnusableError(f"{RECORD_FILE} does not fit the schema: " + "; ".join(problems))
    data = upgraded_record(data)
    foreign = next(_foreign(data, experiment), None)
    if foreign:
        raise _UnusableError(foreign)
    if data["trial"]["id"] != directory.name:
        raise _UnusableError(f"{RECORD_FILE} belongs to trial {data['trial']['id']}, not to this directory")
    return Record(directory, data, broken_rules(data) if data["validity"]["valid"] else ())


def _foreign(record: Mapping[str, Any], experiment: Mapping[str, Any]) -> Iterator[str]:
    """Yield every sign that ``record`` was not made for ``experiment``."""
    if record["experiment_id"] != experiment["experiment_id"]:
        yield f"it belongs to experiment {record['experiment_id']}, not to {experiment['experiment_id']}"
    trial, scenario = record["trial"], experiment["scenario"]
    if trial["workload"] not in scenario["workloads"]:
        yield f"its workload ({workload_label(trial['workload'])}) is not in the scenario"
    if trial["method"] not in scenario["methods"]:
        yield f"its method {trial['method']['name']} is not in the scenario, or has other settings there"
    if trial.get("stack") not in (experiment.get("stacks") or (None,)):
        yield f"its stack ({trial.get('stack') or 'none'}) is not one of the experiment's"
    if trial["repeat"] > scenario["repeats"]:
        yield f"its repeat {trial['repeat']} is beyond the scenario's {scenario['repeats']}"
    for key in ("guest", "link", "baseline_s"):
        if trial[key] != scenario[key]:
            yield f"its {key} differs from the scenario's"
    if scenario["observation_s"] is not None and trial["observation_s"] != scenario["observation_s"]:
        yield "its observation_s differs from the scenario's"


def _planned_ids(experiment: Mapping[str, Any]) -> dict[Cell, str | None]:
    """Return the name of each trial that the experiment asks for; None in imported data."""
    scenario = experiment["scenario"]
    workloads = scenario["workloads"]
    return {
        Cell(repeat, workload_label(workload), method["name"], stack): trial_id(
            workloads, repeat, workload, method["name"], stack
        )
        for workload in workloads
        for method in scenario["methods"]
        for stack in experiment.get("stacks") or (None,)
        for repeat in range(1, scenario["repeats"] + 1)
    }


def _is_plain(name: str) -> bool:
    return bool(name) and Path(name).name == name and not name.startswith(".") and name != RECORD_FILE


def _refuse(what: str, problems: list[str]) -> None:
    if problems:
        raise InputError(f"{what}: " + "; ".join(problems))


def _to_json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
