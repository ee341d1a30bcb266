# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: guard
type: notification
short_description: Clean up the running trial when an experiment is interrupted
version_added: 0.1.0
description:
  - When C(ansible-playbook) ends in the middle of a trial without finishing its playbook, because of Ctrl-C, SIGTERM,
    SIGHUP or an internal error, runs a playbook that cleans up after the trial, and waits for it. Then prints how to
    resume.
  - SIGTERM and SIGHUP, which would end Ansible at once, are treated like Ctrl-C. A process started with C(nohup) keeps
    ignoring SIGHUP.
  - During the cleanup, Ctrl-C is ignored.
  - Does nothing in check mode.
requirements:
  - enabled in configuration (C(callbacks_enabled))
options:
  cleanup_playbook:
    description:
      - Playbook that cleans up after a trial. It runs with the inventory, the connection options and the extra
        variables of the interrupted run.
      - Defaults to C(playbooks/cleanup.yml) of this collection. If empty, the guard does nothing.
    type: str
    env:
      - name: VCSP_TESTBED_CLEANUP_PLAYBOOK
    ini:
      - section: callback_vcsp_testbed_guard
        key: cleanup_playbook
seealso:
  - plugin: vcsp.testbed.progress
    plugin_type: callback
"""

import atexit
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from ansible import context
from ansible.executor.stats import AggregateStats
from ansible.executor.task_result import CallbackTaskResult
from ansible.playbook import Playbook
from ansible.playbook.play import Play
from ansible.playbook.task import Task
from ansible.plugins.callback import CallbackBase

from ansible_collections.vcsp.testbed.plugins.plugin_utils._console.interruption import cleanup_command, resume_command
from ansible_collections.vcsp.testbed.plugins.plugin_utils._console.running_trial import (
    EXPERIMENT_ACTION,
    action_of,
    trial_of,
)

ENVIRONMENT = "VCSP_TESTBED_CLEANUP_PLAYBOOK"
# Longer than any cleanup, shorter than the patience of whoever shuts the machine down.
TIMEOUT_S = 120


class CallbackModule(CallbackBase):
    """Tracks the running trial, and cleans up after it if the process ends early."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "vcsp.testbed.guard"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._trial: str | None = None
        self._experiment_id: str | None = None
        self._watching = False
        self._pid = os.getpid()

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        """Start watching: this runs in the main thread, with Ansible's own signal handlers already in place."""
        if self._watching or context.CLIARGS.get("check") or self.get_option("cleanup_playbook") == "":
            return
        self._watching = True
        atexit.register(self._at_exit)
        ansible_handler = signal.getsignal(signal.SIGINT)
        if not callable(ansible_handler):
            return
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._interrupter(ansible_handler))

    def v2_playbook_on_play_start(self, play: Play) -> None:
        """Forget the trial: none outlasts its play."""
        self._trial = None

    def v2_playbook_on_task_start(self, task: Task, is_conditional: bool) -> None:
        """Note the trial that the task belongs to."""
        trial = trial_of(task)
        self._trial = None if trial is None else str(trial["id"])

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """Note the experiment, for the command that resumes it."""
        if action_of(result.task) == EXPERIMENT_ACTION and "pending" in result.result:
            self._experiment_id = str(result.result["experiment_id"])

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        """Stop watching: the playbook has finished, and every trial has cleaned up after itself."""
        self._trial = self._experiment_id = None

    def _interrupter(self, ansible_handler: Callable[[int, FrameType | None], Any]) -> Callable[..., None]:
        def interrupt(signum: int, frame: FrameType | None) -> None:
            if os.getpid() != self._pid:  # a worker that has not set its own handlers yet
                signal.signal(signum, signal.SIG_DFL)
                os.kill(os.getpid(), signum)
                return
            try:
                # Notifies the workers and raises KeyboardInterrupt, at which Ansible shuts down in an orderly way.
                ansible_handler(signal.SIGINT, frame)
            finally:
                # The handler has restored the default, so a second Ctrl-C would kill us before the cleanup.
                if self._trial is not None:
                    _be_patient()

        return interrupt

    def _at_exit(self) -> None:
        if os.getpid() != self._pid:
            return
        if self._trial is not None:
            _be_patient()
            self._clean_up(self._trial)
        if self._experiment_id is not None:
            _say(f"resume with: {shlex.join(resume_command(sys.argv, self._experiment_id))}")

    def _clean_up(self, trial: str) -> None:
        playbook = self.get_option("cleanup_playbook") or _own_playbook()
        command = cleanup_command(str(playbook), context.CLIARGS)
        heard = _say(f"interrupted: cleaning up the running trial ({trial}) ...")
        # Its output goes where ours does, unless that is gone, as a terminal is after SIGHUP. The descriptors are
        # passed explicitly because Ansible has made them non-inheritable.
        outputs = (sys.stdout.fileno(), sys.stderr.fileno()) if heard else (subprocess.DEVNULL, subprocess.DEVNULL)
        try:
            # In a session of its own, because Ctrl-C reaches everything in ours.
            done = subprocess.run(
                command,
                check=False,
                timeout=TIMEOUT_S,
                stdin=subprocess.DEVNULL,
                stdout=outputs[0],
                stderr=outputs[1],
                start_new_session=True,
                env={**os.environ, ENVIRONMENT: ""},
            )
            problem = f"exit status {done.returncode}" if done.returncode else None
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = str(error)
        if problem:
            _say(f"the cleanup failed ({problem}); run it by hand: {shlex.join(command)}")


def _own_playbook() -> Path:
    return Path(__file__).resolve().parents[2] / "playbooks" / "cleanup.yml"


def _be_patient() -> None:
    """Ignore further interruptions, but not with SIG_IGN, which child processes would inherit."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, lambda _signum, _frame: None)


def _say(text: str) -> bool:
    """Write a line; return False if there is nowhere left to write it."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError:
        return False
    return True
