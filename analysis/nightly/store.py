# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The nights on disk, what was decided about them, and the verdicts that follow.

``results/nightly`` holds a directory for each night's experiment, ``nights/<id>.json`` with what each measured (kept
when retention removes the experiment), and ``nightly.json`` with the order of the nights, their verdicts and the
decisions. Nights are ordered by when they were registered, not by a clock. A decision holds for the nights that are
registered after it, so that a verdict that is computed again is the same.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

from ...plugins.plugin_utils._experiment import lock
from ...plugins.plugin_utils._experiment.experiment import LATEST, LOCK_FILE
from ...plugins.plugin_utils._records.atomic import write_file
from ...plugins.plugin_utils._records.errors import InputError
from ...plugins.plugin_utils._records.printable import printable
from . import BASELINE_NIGHTS, Outcome
from .exports import Result
from .nights import Night, from_json, nights_in, read_night
from .verdict import Baseline, Verdict, judge

STATE_FILE = "nightly.json"
NIGHTS = "nights"
RUNS = "runs"
_SCHEMA_VERSION = 1
_WITHIN_BASELINE: tuple[Outcome, ...] = ("ok", "learning", "insensitive")


@dataclass(frozen=True)
class Entry:
    """A registered night.

    :ivar sequence: place in the order of the nights, from 1
    :ivar red: the pairs of a cell and a metric that were worse, also those in quarantine
    :ivar moved: whether it is at another level than the nights before, so that it is no baseline unless accepted
    :ivar sees: see `Verdict.sees`
    :ivar baseline: ids of the nights that it was held against
    """

    id: str
    sequence: int
    outcome: Outcome
    red: tuple[tuple[str, str], ...]
    moved: bool
    sees: bool
    baseline: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """What somebody decided.

    :ivar target: id of a night, or a cell
    :ivar after: sequence of the last night that was registered then: it holds for later ones
    :ivar until: last day of a quarantine, ISO 8601
    """

    kind: Literal["accept", "reject", "quarantine"]
    target: str
    after: int
    reason: str
    until: str | None = None


@dataclass(frozen=True)
class State:
    """All that is known of the nights but what they measured.

    :ivar running: id of the night that is being run, or whose run was killed
    """

    entries: tuple[Entry, ...] = ()
    decisions: tuple[Decision, ...] = ()
    running: str | None = None
    schema_version: int = field(default=_SCHEMA_VERSION)

    def entry(self, night_id: str) -> Entry | None:
        """Return the entry of a night; None if it is not registered."""
        return next((entry for entry in self.entries if entry.id == night_id), None)

    @property
    def last(self) -> int:
        """The sequence of the last night; 0 if there is none."""
        return max((entry.sequence for entry in self.entries), default=0)

    def before(self, sequence: int) -> list[Entry]:
        """Return the entries before ``sequence``, the oldest first."""
        return sorted((each for each in self.entries if each.sequence < sequence), key=lambda each: each.sequence)

    def baseline(self, sequence: int) -> list[tuple[str, int]]:
        """Return the accepted nights before ``sequence`` and their levels, the level in force last.

        A level begins with an accepted night that had moved, and with the nights after that decision: those between
        the two that were at the former level are still of that.
        """
        decided = {
            each.target: each for each in self.decisions if each.after < sequence and each.kind in ("accept", "reject")
        }
        moved = {entry.id for entry in self.entries if entry.moved}
        levels = [each for each in decided.values() if each.kind == "accept" and each.target in moved]
        levels.sort(key=self.decisions.index)
        found = []
        for entry in self.before(sequence):
            decision = decided.get(entry.id)
            # The third night in a row that sees nothing is failed, but measured as well as the first.
            usual = (entry.outcome in _WITHIN_BASELINE or not entry.sees) and not entry.moved
            if usual if decision is None else decision.kind == "accept":
                begun = [
                    number
                    for number, level in enumerate(levels, start=1)
                    if (level.target == entry.id if entry.moved else level.after < entry.sequence)
                ]
                found.append((entry.id, max(begun, default=0)))
        return sorted(found, key=lambda each: each[1])  # within a level, in the order of the nights

    def quiet(self, sequence: int, day: str) -> list[str]:
        """Return the cells that are in quarantine on ``day`` (ISO 8601) for the night ``sequence``."""
        last = {each.target: each for each in self.decisions if each.kind == "quarantine" and each.after < sequence}
        return sorted(cell for cell, each in last.items() if each.until is not None and day <= each.until)


def read_state(root: Path) -> State:
    """Read the state of ``root``; one that has none is empty.

    :raises InputError: it cannot be read, or a later version wrote it
    """
    path = root / STATE_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema_version"] != _SCHEMA_VERSION:
            raise InputError(f"{path}: has schema_version {found['schema_version']}; use the version that wrote it")
        entries = [
            Entry(**{**each, "red": tuple(map(tuple, each["red"])), "baseline": tuple(each["baseline"])})
            for each in found["entries"]
        ]
        return State(tuple(entries), tuple(Decision(**each) for each in found["decisions"]), found["running"])
    except FileNotFoundError:
        return State()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: is damaged ({printable(str(error), 200)}); restore it from a backup") from None


def write_state(root: Path, state: State) -> None:
    """Replace the state of ``root`` as a whole."""
    write_file(root / STATE_FILE, (json.dumps(asdict(state), indent=1, ensure_ascii=False) + "\n").encode())


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Let nobody else change the state of ``root`` meanwhile; waits for whoever does."""
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root / ".state.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_kept(root: Path, night_id: str) -> Night | None:
    """Return what a registered night measured; None if that was not kept.

    :raises InputError: the file cannot be used
    """
    path = root / NIGHTS / f"{night_id}.json"
    try:
        return from_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: is damaged ({printable(str(error), 200)}); restore it from a backup") from None


def kept(root: Path, night_id: str) -> Night:
    """Return what a registered night measured.

    :raises InputError: it was not kept, or cannot be used
    """
    night = read_kept(root, night_id)
    if night is None:
        raise InputError(f"{root / NIGHTS / night_id}.json: is missing; compute the night's verdict again")
    return night


def settle(root: Path, night: Night, least_nights: int = BASELINE_NIGHTS) -> Verdict:
    """Register ``night``, unless it is, keep what it measured, and return the verdict on it.

    What failed in an earlier attempt at the same night stays failed.
    """
    with locked(root):
        state = read_state(root)
        earlier = read_kept(root, night.id)
        if earlier is not None:
            night = night.with_failures(earlier.failures)
        known = state.entry(night.id)
        sequence = known.sequence if known else state.last + 1
        verdict = _judged(root, state, night, sequence, least_nights)
        entry = Entry(
            night.id,
            sequence,
            verdict.outcome,
            tuple((each.cell, each.metric) for each in verdict.findings if each.red),
            verdict.moved,
            verdict.sees,
            verdict.baseline,
        )
        (root / NIGHTS).mkdir(exist_ok=True)
        write_file(root / NIGHTS / f"{night.id}.json", night.to_json())
        others = [each for each in state.entries if each.id != night.id]
        running = None if state.running == night.id else state.running
        settled = State((*others, entry), state.decisions, running)
        if settled != state:
            write_state(root, settled)
    return verdict


def verdict_on(root: Path, night_id: str, least_nights: int = BASELINE_NIGHTS) -> Verdict:
    """Return the verdict on a registered night, computed again from what was kept; changes nothing.

    :raises InputError: it is not registered, or what it measured was not kept
    """
    state = read_state(root)
    entry = state.entry(night_id)
    if entry is None:
        raise InputError(f"{night_id}: no such night in {root}; {_known(state)}")
    return _judged(root, state, kept(root, night_id), entry.sequence, least_nights)


def result_of(root: Path, night_id: str, least_nights: int = BASELINE_NIGHTS) -> Result:
    """Return the verdict on a registered night, and since when it is so."""
    verdict = verdict_on(root, night_id, least_nights)
    state = read_state(root)
    return Result(
        verdict,
        {(each.cell, each.metric): since(state, night_id, each.cell, each.metric) for each in verdict.red},
    )


def _judged(root: Path, state: State, night: Night, sequence: int, least_nights: int) -> Verdict:
    baseline = [Baseline(kept(root, night_id), level) for night_id, level in state.baseline(sequence)]
    insensitive = 0
    for entry in reversed(state.before(sequence)):
        if entry.sees:
            break
        insensitive += 1
    return judge(night, baseline, state.quiet(sequence, night.date[:10]), least_nights, insensitive)


def since(state: State, night_id: str, cell: str, metric: str) -> str:
    """Return the first of the nights in a row, up to this one, in which ``metric`` was worse in ``cell``.

    Nights that failed say nothing about it.
    """
    first = night_id
    entry = state.entry(night_id)
    for earlier in reversed(state.before(entry.sequence if entry else state.last + 1)):
        if (cell, metric) in earlier.red:
            first = earlier.id
        elif earlier.outcome != "failed":
            break
    return first


def read_finished(directory: Path) -> Night:
    """Read the night in ``directory``, an experiment that nobody is running.

    :raises InputError: it is being run, or holds no readable experiment
    """
    try:
        lock.check(directory / LOCK_FILE, os.getpid())
    except lock.LockedError as error:
        raise InputError(f"{directory}: the night is not over: {error}") from None
    return read_night(directory)


def decide(root: Path, kind: Literal["accept", "reject"], night_id: str, reason: str) -> bool:
    """Accept or reject a night; return whether that changed anything.

    :raises InputError: there is no such night, or it cannot be accepted
    """
    with locked(root):
        state = read_state(root)
        entry = state.entry(night_id)
        if entry is None:
            raise InputError(f"{night_id}: no such night in {root}; {_known(state)}")
        if kind == "accept" and entry.outcome == "failed" and entry.sees:
            raise InputError(f"{night_id}: failed, so there is nothing to hold other nights against; run it again")
        last = next((each for each in reversed(state.decisions) if each.target == night_id), None)
        if last is not None and last.kind == kind:
            return False
        _append(root, state, Decision(kind, night_id, state.last, reason))
    return True


def quarantine(root: Path, cell: str, until: date, reason: str) -> bool:
    """Let ``cell`` decide nothing until the end of a day; a day that is past ends its quarantine.

    :returns: whether that changed anything
    :raises InputError: no night has such a cell
    """
    with locked(root):
        state = read_state(root)
        cells: Sequence[str] = ()
        for entry in reversed(state.before(state.last + 1)):
            cells = list(kept(root, entry.id).values)
            if cells:
                break
        if cell not in cells:
            raise InputError(f"{cell}: the last night has no such cell; it has {', '.join(cells) or 'none at all'}")
        new = Decision("quarantine", cell, state.last, reason, until.isoformat())
        last = next((each for each in reversed(state.decisions) if each.target == cell), None)
        if last is not None and (last.until, last.reason) == (new.until, new.reason):
            return False
        _append(root, state, new)
    return True


def _append(root: Path, state: State, decision: Decision) -> None:
    write_state(root, State(state.entries, (*state.decisions, decision), state.running))


def mark_running(root: Path, night_id: str) -> str | None:
    """Note that a night is being run; return the id of one whose run was killed, if there is one."""
    with locked(root):
        state = read_state(root)
        write_state(root, State(state.entries, state.decisions, night_id))
    return state.running


def prune(root: Path, keep: int) -> list[str]:
    """Remove the experiments of nights that nobody needs any more, and return their ids.

    Kept are the last ``keep``, those that were accepted by somebody, failed, or red, and what the last ``keep`` were
    held against. What a removed night measured, its verdict and its place in the history stay.
    """
    with locked(root):
        state = read_state(root)
        recent = state.before(state.last + 1)[-keep:] if keep else []
        needed = {entry.id for entry in recent} | {each for entry in recent for each in entry.baseline}
        needed |= {night_id for night_id, _level in state.baseline(state.last + 1)[-BASELINE_NIGHTS:]}
        needed |= {each.target for each in state.decisions if each.kind == "accept"}
        needed |= {entry.id for entry in state.entries if entry.outcome in ("failed", "regression")}
        needed |= {os.path.basename(os.path.realpath(root / LATEST)), str(state.running)}
        gone = [entry.id for entry in state.before(state.last + 1) if entry.id not in needed]
        removed = [night_id for night_id in gone if (root / night_id).is_dir()]
        for night_id in removed:
            shutil.rmtree(root / night_id)
            shutil.rmtree(root / RUNS / night_id, ignore_errors=True)
    return removed


def _known(state: State) -> str:
    last = [entry.id for entry in state.before(state.last + 1)][-5:]
    return f"the last are {', '.join(last)}" if last else "there is none yet"


def accepted(directories: Sequence[Path]) -> list[Baseline]:
    """Return the accepted nights of the one of ``directories``, or all experiments in them, the oldest first.

    :raises InputError: there is none
    """
    if len(directories) == 1 and (directories[0] / STATE_FILE).exists():
        [root] = directories
        state = read_state(root)
        found = [Baseline(kept(root, night_id), level) for night_id, level in state.baseline(state.last + 1)]
        if not found:
            raise InputError(f"{root}: has no accepted night yet")
        return found
    nights = [night for directory in directories for night in nights_in(directory)]
    return [Baseline(night, 0) for night in sorted(nights, key=lambda night: (night.date, night.id))]


def outcomes(state: State) -> Mapping[str, Outcome]:
    """Return the verdict of each night by id, the oldest first."""
    return {entry.id: entry.outcome for entry in state.before(state.last + 1)}
