# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a night measured: the part of its experiment that verdicts need, small enough to keep for years."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from ...plugins.module_utils._method import Method
from ...plugins.plugin_utils._records.errors import InputError
from ...plugins.plugin_utils._records.printable import printable
from ...plugins.plugin_utils._records.records import Cell, Experiment, Record, workload_label
from ...plugins.plugin_utils._records.traits import HOSTS
from ...plugins.plugin_utils._scenario.schema import fill, place_schema
from ...plugins.plugin_utils._scenario.trials import trial_id
from ..data.checked import read_checked
from ..data.likeness import differences, stated
from ..statistics.processors import stolen_warnings
from .metrics import METRICS, wished_percent

# Of a scenario, what does not make a night another measurement.
_FREE_SETTINGS = ("name", "repeats", "seed", "regression")
# What the first nights stated of the parts of a scenario. Nights that are kept state their kind, so a setting that came
# later belongs to it only where it is not at its default, which is what those nights had.
_STATED = {
    "guest": {"system", "accelerator", "memory_mb", "vcpus", "thp"},
    "methods": {
        "name", "vcpu_quota_percent", "vcpu_period_us", "vcpu_quota_until", "prefetch_pages", "prefetch_policy",
        "prefetch_max_pages", "transfer", "postcopy_preempt", "max_postcopy_bandwidth_mb_per_s",
    },
    "workloads": {"window_mb", "pattern", "rate_mb_per_s", "work_per_page", "writes_percent"},
    "link": {"rate_mbit", "delay_us", "queue", "congestion_control"},
}  # fmt: skip
_MOST_NAMED = 10


@dataclass(frozen=True)
class Night:
    """A night, measured or not.

    :ivar id: name of its directory
    :ivar date: when its experiment was begun, ISO 8601, UTC
    :ivar kind: equal for nights that can be compared: the same workloads, methods and settings on the same machines
    :ivar wished: metric -> the loss, in percent, from which on it decides
    :ivar values: cell -> metric -> its valid trials' values, in the unit of the measurement
    :ivar stack: what it ran on: title -> value
    :ivar failures: why it is a failed night, each a line: evidence that nothing takes back
    :ivar notes: what else a reader should know
    """

    id: str
    date: str
    kind: str
    wished: Mapping[str, float]
    values: Mapping[str, Mapping[str, Sequence[float]]]
    stack: Mapping[str, str]
    failures: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether any trial was valid."""
        return any(values for metrics in self.values.values() for values in metrics.values())

    def with_failures(self, failures: Sequence[str]) -> Night:
        """Return the night with what failed in an earlier attempt, too."""
        return replace(self, failures=tuple(dict.fromkeys((*failures, *self.failures))))

    def to_json(self) -> bytes:
        """Return the night as a file that `from_json` reads."""
        return (json.dumps(asdict(self), ensure_ascii=False, allow_nan=False) + "\n").encode()


def from_json(content: bytes) -> Night:
    """Return the night of `Night.to_json`.

    :raises ValueError: it is none
    """
    try:
        found = json.loads(content)
        return Night(**{**found, "failures": tuple(found["failures"]), "notes": tuple(found["notes"])})
    except (TypeError, KeyError) as error:
        raise ValueError(f"no night: {error}") from error


def unmeasured(night_id: str, date: str, failures: Sequence[str]) -> Night:
    """Return a night that measured nothing, and why."""
    return Night(night_id, date, "", {}, {}, {}, tuple(failures))


def read_night(directory: Path) -> Night:
    """Read the night whose experiment is in ``directory``.

    :raises InputError: there is no readable experiment
    """
    experiment = read_checked(directory)
    valid = [record for record in experiment.records if record.valid]
    cells = _cells(experiment)
    values: dict[str, dict[str, list[float]]] = {cell: {} for cell in cells.values()}
    for record in sorted(valid, key=lambda each: each.data["trial"]["repeat"]):
        # A pair is compared with itself alone.
        cell = cells[_key(record.cell)]
        of_pair = values.setdefault(cell if record.pair is None else f"{cell} on {record.pair}", {})
        for metric in METRICS:
            value = record.data["measurements"][metric.measurement]
            if value is not None:
                of_pair.setdefault(metric.name, []).append(float(value))
    others = [record for record in experiment.records if not record.valid and not _is_failure(record)]
    return Night(
        directory.resolve().name,
        str(experiment.experiment["created_at"]),
        _kind(experiment.scenario, valid),
        wished_percent(experiment.scenario),
        values,
        _stack(experiment, valid),
        tuple(printable(failure) for failure in _failures(experiment, valid, cells)),
        (
            *_named("invalid", [f"{record.trial_id} ({'; '.join(record.reasons)})" for record in others]),
            *map(str, stolen_warnings(experiment.records)),
        ),
    )


def _cells(experiment: Experiment) -> dict[Cell, str]:
    """Return each cell, as `_key` has it -> its name, that of its trials without their repeat."""
    workloads = experiment.scenario["workloads"]
    found = {}
    for workload in workloads:
        for method in experiment.methods:
            for stack in experiment.stacks or (None,):
                name = trial_id(workloads, 1, workload, method, stack)
                label = workload_label(workload)
                found[Cell(0, label, method, stack)] = (
                    f"{label} {method}" if name is None else name.removeprefix("r01-")
                )
    return found


def _key(cell: Cell) -> Cell:
    """Return a cell for all of its repeats."""
    return replace(cell, repeat=0)


def _is_failure(record: Record) -> bool:
    return record.lost or record.data["memory_verified"] is False


def _failures(experiment: Experiment, valid: Sequence[Record], cells: Mapping[Cell, str]) -> Iterator[str]:
    for record in experiment.records:
        if record.data["memory_verified"] is False:
            yield f"{record.trial_id}: the guest's memory check failed"
        elif record.lost:
            yield f"{record.trial_id}: lost: the migration did not end in time"
    ids = [f"repeat {cell.repeat} of {cells[_key(cell)]}" for cell in experiment.missing]
    yield from _named("not measured", ids)
    counts = dict.fromkeys(cells.values(), 0)
    for record in valid:
        counts[cells[_key(record.cell)]] += 1
    # A single trial shows no scatter; where most are unusable, the rest was chosen by what spoiled the others.
    least = max(2, experiment.scenario["repeats"] / 2)
    for cell, count in counts.items():
        if count < least:
            yield f"{cell}: only {count} of {experiment.scenario['repeats']} trials are valid"
    for difference in differences(valid):
        yield f"trials of unlike hosts: {difference}"


def _named(what: str, entries: Sequence[str]) -> Iterator[str]:
    if entries:
        more = f" and {len(entries) - _MOST_NAMED} more" if len(entries) > _MOST_NAMED else ""
        yield printable(f"{what}: {', '.join(entries[:_MOST_NAMED])}{more}", 2000)


def _kind(scenario: Mapping[str, Any], valid: Sequence[Record]) -> str:
    settings = {key: _as_ever(key, value) for key, value in scenario.items() if key not in _FREE_SETTINGS}
    one_of_each = {record.pair: record for record in reversed(valid)}
    machines = [
        [
            _at(one_of_each[pair], host, path)
            for path in (("hostname",), ("cpu", "model"), ("cpu", "count"), ("accelerator", "name"))
        ]
        for pair in sorted(one_of_each, key=str)
        for host in HOSTS
    ]
    if stacks := sorted({record.stack for record in valid if record.stack is not None}):
        settings["stacks"] = stacks
    text = json.dumps([settings, machines], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _as_ever(part: str, value: Any) -> Any:
    """Return a part of a scenario without newer settings that are at their defaults."""
    if part == "methods":
        return [_kept(method, asdict(Method()), _STATED[part]) for method in value]
    schema = place_schema(part)
    filled = fill(schema, value)
    if part not in _STATED:
        return filled
    if isinstance(filled, list):
        return [_kept(entry, fill(schema["items"], {}), _STATED[part]) for entry in filled]
    return _kept(filled, fill(schema, {}), _STATED[part])


def _kept(settings: Mapping[str, Any], defaults: Mapping[str, Any], stated: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name in stated or value != defaults[name]}


def _stack(experiment: Experiment, valid: Sequence[Record]) -> dict[str, str]:
    """Return what the trials ran on, by title; of an experiment that compares stacks, those of each."""
    if not experiment.stacks:
        return _facts(valid)
    return {
        f"{title} ({stack})": value
        for stack in experiment.stacks
        for title, value in _facts([record for record in valid if record.stack == stack]).items()
    }


def _facts(valid: Sequence[Record]) -> dict[str, str]:
    if not valid:
        return {}
    found = stated(valid)
    more = {"microcode": ("cpu", "microcode"), "CPU governor": ("cpu", "governor"), "boot": ("boot_id",)}
    for title, path in more.items():
        values = [_at(valid[0], host, path) for host in HOSTS]
        if any(value is not None for value in values):
            found[title] = printable(" and ".join(dict.fromkeys(map(str, values))), 200)
    controller = valid[0].data["provenance"]["controller"]
    version = [str(controller[key]) for key in ("collection", "commit") if controller.get(key) is not None]
    if version:
        found["testbed"] = printable(" ".join(version), 100)
    proofs = [link["proof"] for each in valid if (link := each.data.get("link"))]
    rates = [proof["bulk_mbit_per_s"] for proof in proofs if proof and proof["bulk_mbit_per_s"] is not None]
    if rates:
        found["link as measured"] = f"{median(rates):.3g} Mbit/s"
    return found


def _at(record: Record, host: str, path: Sequence[str]) -> Any:
    found: Any = record.data["provenance"][host]
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def nights_in(directory: Path) -> list[Night]:
    """Read ``directory`` as one night, or each directory in it that holds an experiment, in the order of their dates.

    :raises InputError: there is none
    """
    if (directory / "experiment.json").exists():
        return [read_night(directory)]
    found = [
        read_night(entry)
        for entry in sorted(directory.iterdir() if directory.is_dir() else ())
        if not entry.name.startswith(".") and not entry.is_symlink() and (entry / "experiment.json").exists()
    ]
    if not found:
        raise InputError(f"{directory}: holds no experiment; give results/nightly, or the directory of an experiment")
    return sorted(found, key=lambda night: (night.date, night.id))
