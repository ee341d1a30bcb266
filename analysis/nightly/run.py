# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A night: ``playbooks/nightly.yml`` on ansible-runner, then what it measured, and the verdict.

What the run measured is read from the records, and never from Ansible's output; that only explains what is missing.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ansible_runner

from ...plugins.plugin_utils._experiment import lock
from ...plugins.plugin_utils._experiment.experiment import LOCK_FILE
from ...plugins.plugin_utils._records.atomic import write_file
from ...plugins.plugin_utils._records.errors import InputError
from ...plugins.plugin_utils._records.printable import printable
from ...plugins.plugin_utils._records.records import EXPERIMENT_FILE, RECORD_FILE, TRIALS_DIRECTORY
from . import BASELINE_NIGHTS, exports, store
from .nights import Night, read_night, unmeasured

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = ROOT / "playbooks" / "nightly.yml"
CLEANUP = ROOT / "playbooks" / "cleanup.yml"
_CLEANUP_TIMEOUT_S = 600

# What a run is given of the environment. Whatever else is there, secrets in particular, reaches neither it nor the
# artifacts, which hold the environment of a run as it was.
_KEPT = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR", "LANG", "LC_ALL", "TZ", "SSH_AUTH_SOCK",
    "http_proxy", "https_proxy", "no_proxy", "ANSIBLE_BECOME_PASSWORD_FILE", "ANSIBLE_CONNECTION_PASSWORD_FILE",
    "ANSIBLE_HOME", "ANSIBLE_LOCAL_TEMP", "ANSIBLE_VAULT_IDENTITY_LIST", "ANSIBLE_VAULT_PASSWORD_FILE", "VIRTUAL_ENV",
)  # fmt: skip
_MASKED = ("http_proxy", "https_proxy")  # may hold a password


@dataclass(frozen=True)
class Job:
    """What to run.

    :ivar results: directory of the nights
    :ivar inventory: None: the one that ansible.cfg names
    :ivar scenario: name or path
    :ivar timeout_s: after this the run is ended, and the night failed
    """

    results: Path
    scenario: str = "nightly"
    inventory: Path | None = None
    timeout_s: int = 6 * 3600
    baseline_nights: int = BASELINE_NIGHTS
    playbook: Path = PLAYBOOK
    cleanup: Path = CLEANUP


@dataclass
class _Progress:
    """What a run says while it lasts, and what failed in it."""

    say: Callable[[str], None]
    trials: Path
    failed: list[str] = field(default_factory=list)
    done: int = 0
    looked_at: float = 0.0

    def __call__(self, event: Mapping[str, Any]) -> bool:
        data = event.get("event_data") or {}
        if event["event"] == "playbook_on_play_start":
            self.say(str(data.get("name")))
        if event["event"] in ("runner_on_failed", "runner_on_unreachable") and not data.get("ignore_errors"):
            result = data.get("res") or {}
            message = result.get("msg") if isinstance(result, Mapping) else result
            self.failed.append(printable(f"{data.get('host')}: {data.get('task')}: {message}", 500))
            self.say(f"failed: {self.failed[-1]}")
        now = time.monotonic()
        if now - self.looked_at > 1:
            self.looked_at = now
            done = sum(1 for _path in self.trials.glob(f"*/{RECORD_FILE}"))
            if done != self.done:
                self.done = done
                self.say(f"{done} trials have ended")
        return True  # keep the event's file


def run_night(job: Job, say: Callable[[str], None]) -> exports.Result:
    """Run a night and return its verdict; one that did not measure is "failed", whatever happened.

    :param say: takes each line of progress
    :raises InputError: another night is running, or the results cannot be used
    :raises OSError: the disk is full, or the directory not writable
    """
    results = job.results.resolve()
    results.mkdir(parents=True, exist_ok=True)
    path = results / ".run.lock"
    try:
        lock.acquire(path, "run the night", str(ROOT), os.getpid())
    except lock.LockedError as error:
        raise InputError(f"another night is still running: {error}") from None
    try:
        night_id = _free_id(results, Path(job.scenario).stem)
        _clean_up_after(results, store.mark_running(results, night_id), job, say)
        say(f"night {night_id}")
        night = _measured(job, results, night_id, say)
        store.settle(results, night, job.baseline_nights)
        result = store.result_of(results, night_id, job.baseline_nights)
        write_exports(results, result)
        return result
    finally:
        lock.release(path, os.getpid())


def write_exports(results: Path, result: exports.Result) -> None:
    """Write a verdict in all formats beside the artifacts of its run."""
    directory = results / store.RUNS / result.verdict.night
    directory.mkdir(parents=True, exist_ok=True)
    for name, render in (
        ("verdict.txt", exports.text),
        ("verdict.md", exports.markdown),
        ("verdict.json", exports.to_json),
        ("junit.xml", exports.junit),
    ):
        write_file(directory / name, (render(result) + "\n").encode())


def _free_id(results: Path, scenario: str) -> str:
    wanted = f"{datetime.now(UTC):%Y-%m-%d}-{scenario}-{datetime.now(UTC):%H%M%S}"
    state = store.read_state(results)
    taken = {*(entry.id for entry in state.entries), state.running}
    night_id, number = wanted, 1
    # The clock was set back, or the night before ended within its second.
    while night_id in taken or (results / night_id).exists():
        number += 1
        night_id = f"{wanted}-{number}"
    return night_id


def _clean_up_after(results: Path, killed: str | None, job: Job, say: Callable[[str], None]) -> None:
    """Register the night whose controller was killed, and end what it left on the hosts."""
    if killed is None or store.read_state(results).entry(killed) is not None:
        return
    say(f"{killed} was killed while it ran; it counts as failed, and what it left on the hosts is ended")
    _end(results / killed / LOCK_FILE)
    failure = "the night was killed while it ran"
    store.settle(results, _read(results, killed).with_failures([failure]), job.baseline_nights)
    scrub(results / store.RUNS / killed)
    _play(job, results, killed, job.cleanup, _CLEANUP_TIMEOUT_S, say)


def _end(path: Path) -> None:
    """End the playbook that outlived its controller and still holds the lock of its experiment.

    :raises InputError: it does not end
    """
    deadline = time.monotonic() + _CLEANUP_TIMEOUT_S
    told = False
    while True:
        try:
            lock.check(path, os.getpid())
            return
        except lock.LockedError as error:  # so the process is the one that the lock names, and no later one
            if time.monotonic() > deadline:
                raise InputError(f"what is left of the killed night does not end: {error}") from None
            if not told:
                os.kill(json.loads(path.read_text(encoding="utf-8"))["pid"], signal.SIGINT)
                told = True
        time.sleep(0.5)


def _read(results: Path, night_id: str) -> Night:
    """Return what a night measured, be it nothing."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    if not (results / night_id / EXPERIMENT_FILE).exists():
        return unmeasured(night_id, now, ["it ended before the first trial"])
    try:
        return read_night(results / night_id)
    except InputError as error:
        return unmeasured(night_id, now, [printable(str(error), 500)])


def _measured(job: Job, results: Path, night_id: str, say: Callable[[str], None]) -> Night:
    status, rc, failed = _play(job, results, night_id, job.playbook, job.timeout_s, say)
    night = _read(results, night_id)
    said = [f"ansible: {each}" for each in failed]
    if status == "timeout":
        night = night.with_failures([f"ended after {job.timeout_s} s, its time limit"])
    elif status == "canceled":
        night = night.with_failures(["it was cancelled"])
    elif status != "successful" and not failed:
        said = [f"ansible-playbook ended with {status}, exit status {rc}"]
        night = night.with_failures(said)
    if status in ("timeout", "canceled"):
        _play(job, results, night_id, job.cleanup, _CLEANUP_TIMEOUT_S, say)
    if said and night.failures:
        # What went wrong on the hosts explains what was not measured.
        return night.with_failures(said[:10])
    return replace(night, notes=(*night.notes, *said[:10]))


def _play(
    job: Job, results: Path, night_id: str, playbook: Path, timeout_s: int, say: Callable[[str], None]
) -> tuple[str, int | None, list[str]]:
    """Run a playbook; return the runner's status, the exit status, and what failed."""
    scenario = job.scenario
    if "/" in scenario or scenario.endswith((".yml", ".yaml")):
        scenario = str(Path(scenario).expanduser().resolve())
    private = results / store.RUNS / night_id
    private.mkdir(parents=True, exist_ok=True)
    private.chmod(0o700)  # events hold what modules were given
    progress = _Progress(say, results / night_id / TRIALS_DIRECTORY)
    options = [] if job.inventory is None else ["-i", str(job.inventory.resolve())]
    with _environment(), _cancellation() as cancelled:
        runner = ansible_runner.run(
            private_data_dir=str(private),
            project_dir=str(ROOT),
            ident=playbook.stem,
            playbook=str(playbook),
            cmdline=shlex.join(options) or None,
            extravars={"scenario": scenario, "results_dir": str(results), "experiment_id": night_id},
            envvars={"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "LC_ALL": "C.UTF-8", "PATH": _path()},
            timeout=timeout_s,
            event_handler=progress,
            cancel_callback=cancelled.is_set,
            quiet=True,
        )
    scrub(private)
    return str(runner.status), runner.rc, progress.failed


def _path() -> str:
    """Return PATH with the programs of this Python first, and those of root, which a plain "su" leaves out."""
    found = [str(Path(sys.executable).parent), *os.environ.get("PATH", os.defpath).split(os.pathsep)]
    return os.pathsep.join(dict.fromkeys([*found, "/usr/local/sbin", "/usr/sbin", "/sbin"]))


def scrub(private: Path) -> None:
    """Mask what may be a password in the environments that the runner wrote down."""
    for path in private.glob("artifacts/*/command"):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:  # a full disk, or a killed run: whatever it holds, nobody can use it
            path.unlink()
            continue
        found["env"] |= {key: "masked" for key in _MASKED if key in found["env"]}
        write_file(path, json.dumps(found).encode())
        path.chmod(0o600)


@contextmanager
def _environment() -> Iterator[None]:
    """Run with nothing but what `_KEPT` names: ansible-runner gives all of the environment to the run."""
    before = dict(os.environ)
    for name in before.keys() - set(_KEPT):
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _cancellation() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM, SIGINT and SIGHUP set, so that the run ends and is tidied up."""
    cancelled = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # which alone can be signalled
        yield cancelled
        return
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: cancelled.set()) for number in signals}
    try:
        yield cancelled
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
