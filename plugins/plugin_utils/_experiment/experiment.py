# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The directory of an experiment: begun, or found again and resumed."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .._records.errors import InputError
from .._records.records import (
    EXPERIMENT_FILE,
    TRIALS_DIRECTORY,
    Record,
    read_experiment,
    scenario_hash,
    write_experiment,
)
from .._records.schema import SCHEMA_VERSION
from .._scenario.trials import trials
from .shares import Block

LATEST = "latest"
LOCK_FILE = ".lock"


class ExperimentError(Exception):
    """The experiment cannot be begun or resumed; the message says why and what to do."""


@dataclass(frozen=True)
class Found:
    """What there is of an experiment, and what is still to do.

    :ivar pending: trials to run, in order
    :ivar done: ids of the trials with a valid record, and of those that were lost
    :ivar lost: ids of the trials that did not end inside the observation window
    :ivar begun: block -> the pair that ran most of those trials of it, where the inventory names pairs
    :ivar notes: what was found in the directory but is not used, for the user
    """

    resumed: bool
    pending: list[dict[str, Any]]
    done: list[str]
    lost: list[str]
    begun: dict[Block, str]
    notes: list[str]


def default_id(scenario: Mapping[str, Any]) -> str:
    """Return ``<scenario name>-<UTC yyyymmdd-hhmmss>``."""
    return f"{scenario['name']}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def check_id(experiment_id: str) -> None:
    """Refuse an id that is not a plain directory name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", experiment_id) or experiment_id == LATEST:
        raise ExperimentError(
            f'experiment_id: is "{experiment_id}"; use at most 100 letters, digits, ".", "_" and "-", with a letter or '
            f'digit first, and not "{LATEST}"'
        )


def find(directory: Path, experiment_id: str, scenario: Mapping[str, Any], stacks: Sequence[str] = ()) -> Found:
    """Return how far the experiment is, changing nothing.

    :param stacks: those that it compares, the first of which is the reference
    :raises ExperimentError: the directory holds something else
    """
    planned = trials(scenario, stacks)
    if not directory.exists():
        return Found(False, planned, [], [], {}, [])
    try:
        names = sorted(entry.name for entry in directory.iterdir() if entry.name != LOCK_FILE)
    except OSError as error:
        raise ExperimentError(f"{directory}: cannot be read: {error.strerror}; give another results_dir") from error
    if not names:
        return Found(False, planned, [], [], {}, [])
    if EXPERIMENT_FILE not in names:
        raise ExperimentError(
            f"{directory}: holds {', '.join(names[:3])}{' ...' if len(names) > 3 else ''} instead of an experiment; "
            f"give another experiment_id or results_dir"
        )
    try:
        found = read_experiment(directory)
    except InputError as error:
        raise ExperimentError(f"{error}; or give another experiment_id") from error
    if found.experiment["experiment_id"] != experiment_id:
        raise ExperimentError(
            f"{directory}: holds the experiment {found.experiment['experiment_id']}; rename the "
            f"directory back, or give another experiment_id"
        )
    if found.experiment["scenario_hash"] != scenario_hash(scenario):
        raise ExperimentError(
            f"{directory}: holds an experiment with other settings (scenario {found.scenario['name']}), and results of "
            f"different settings do not mix; use the scenario that it was begun with, or give another "
            f"experiment_id"
        )
    if found.stacks != tuple(stacks):
        raise ExperimentError(
            f"{directory}: holds an experiment of {_stacks(found.stacks)}, and the inventory names "
            f"{_stacks(stacks)}; use the inventory that it was begun with, or give another experiment_id"
        )
    lost = {record.trial_id for record in found.records if record.lost}
    ended = lost | {record.trial_id for record in found.records if record.valid}
    return Found(
        resumed=True,
        pending=[trial for trial in planned if trial["id"] not in ended],
        done=[trial["id"] for trial in planned if trial["id"] in ended],
        lost=[trial["id"] for trial in planned if trial["id"] in lost],
        begun=_begun(record for record in found.records if record.trial_id in ended),
        notes=[f"{directory / TRIALS_DIRECTORY / skip.name}: not used: {skip.reason}" for skip in found.skipped],
    )


def _stacks(names: Sequence[str]) -> str:
    return f"the stacks {', '.join(names)}" if names else "no stacks to compare"


def _begun(records: Iterable[Record]) -> dict[Block, str]:
    counts: dict[Block, Counter[str]] = {}
    for record in records:
        if record.pair is not None:
            counts.setdefault((record.stack, record.data["trial"]["repeat"]), Counter())[record.pair] += 1
    return {block: of_pair.most_common(1)[0][0] for block, of_pair in counts.items()}


def check_place(directory: Path) -> None:
    """Look whether the directory can be created, written to and linked as ``latest``, changing nothing.

    :raises ExperimentError: it cannot
    """
    there = next(path for path in (directory, *directory.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ExperimentError(f"{directory}: cannot be created: {there} is not a directory; give another results_dir")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ExperimentError(f"{there}: is not writable; change its permissions, or give another results_dir")
    _check_latest(directory.with_name(LATEST))


def prepare(directory: Path) -> None:
    """Create the directory.

    :raises ExperimentError: it cannot be created or written to
    """
    check_place(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExperimentError(f"{directory}: cannot be created: {error.strerror}; give another results_dir") from error


def begin(
    directory: Path,
    experiment_id: str,
    scenario: Mapping[str, Any],
    provenance: Mapping[str, Any],
    stacks: Sequence[str] = (),
) -> None:
    """Write ``experiment.json``.

    :param stacks: those that it compares, the first of which is the reference
    :raises ExperimentError: it cannot be written
    """
    experiment = {
        "schema_version": SCHEMA_VERSION,
        "experiment_id": experiment_id,
        "scenario": scenario,
        "scenario_hash": scenario_hash(scenario),
        **({"stacks": list(stacks)} if stacks else {}),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "provenance": provenance,
    }
    try:
        write_experiment(directory, experiment)
    except (InputError, OSError) as error:
        raise ExperimentError(f"{directory / EXPERIMENT_FILE}: cannot be written: {error}") from error


def link_latest(directory: Path) -> None:
    """Make ``latest``, beside the directory, a link to it, replacing an older link in one step.

    :raises ExperimentError: something else has that name
    """
    latest = directory.with_name(LATEST)
    _check_latest(latest)
    new = directory.with_name(f".{LATEST}.{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(directory.name)
    os.replace(new, latest)


def _check_latest(latest: Path) -> None:
    if latest.exists() and not latest.is_symlink():
        raise ExperimentError(
            f"{latest}: is not a link to the newest experiment, for which this name is kept; move it away"
        )
