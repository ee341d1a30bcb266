# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: guard
type: notification
short_description: Clean up the running trials when an experiment is interrupted
version_added: 0.1.0
description:
  - When C(ansible-playbook) ends in the middle of a trial without finishing its playbook, because of Ctrl-C, SIGTERM,
    SIGHUP or an internal error, runs a playbook that cleans up after the trial of each pair, and waits for it. Then
    prints how to resume.
  - SIGTERM and SIGHUP, which would end Ansible at once, are treated like Ctrl-C. A process started with C(nohup) keeps
    ignoring SIGHUP.
  - During the cleanup, Ctrl-C is ignored. It asks for no passwords, but gets those of the interrupted run, in files
    that only this user can read and that last as long as the cleanup.
  - Does nothing in check mode.
  - The playbooks of this collection load it themselves, whatever C(callbacks_enabled) says. It needs to be enabled only
    where Ansible loads its callbacks before it knows of these playbooks, as in C(ansible-playbook mine.yml
    vcsp.testbed.experiment), and for playbooks that use the role P(vcsp.testbed.trial#role) without importing one.
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
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ansible import context
from ansible.executor.stats import AggregateStats
from ansible.executor.task_result import CallbackTaskResult
from ansible.inventory.host import Host
from ansible.playbook import Playbook
from ansible.playbook.play import Play
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.callback import CallbackBase

from ansible_collections.vcsp.testbed.plugins.plugin_utils._console.interruption import (
    Interrupter,
    as_typed,
    be_patient,
    cleanup_command,
    resume_command,
    without_asking,
)
from ansible_collections.vcsp.testbed.plugins.plugin_utils._console.running_trial import (
    EXPERIMENT_ACTION,
    action_of,
    trial_of,
)

ENVIRONMENT = "VCSP_TESTBED_CLEANUP_PLAYBOOK"
UNASKED = dict.fromkeys(("ANSIBLE_ASK_PASS", "ANSIBLE_ASK_VAULT_PASS", "ANSIBLE_BECOME_ASK_PASS"), "false")
# Longer than any cleanup, shorter than the patience of whoever shuts the machine down.
TIMEOUT_S = 120


class CallbackModule(CallbackBase):
    """Tracks the running trials, and cleans up after them if the process ends early."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "vcsp.testbed.guard"

    def __init__(self) -> None:
        super().__init__()
        # The host that a play runs for -> the trial that it is at.
        self._trials: dict[str, str] = {}
        self._experiment_id: str | None = None
        self._pid = os.getpid()
        self._passwords: dict[str, str | None] = {}
        self._vault: list[tuple[str, Any]] = []

    def set_play_context(self, play_context: PlayContext) -> None:
        """Note the passwords, for the cleanup."""
        self._passwords = {
            "connection_password_file": play_context.password,
            "become_password_file": play_context.become_pass,
        }

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        """Start watching: this runs in the main thread, with Ansible's own signal handlers already in place."""
        if context.CLIARGS.get("check") or self.get_option("cleanup_playbook") == "":
            return
        if Interrupter.install(lambda: bool(self._trials)):
            atexit.register(self._at_exit)
            self._vault = playbook.get_loader()._vault.secrets or []

    def v2_playbook_on_play_start(self, play: Play) -> None:
        """Forget the trials: none outlasts its play."""
        self._trials = {}

    def v2_runner_on_start(self, host: Host, task: Task) -> None:
        """Note the trial that the task belongs to, if it is not another pair's, whose tasks the host skips."""
        trial = trial_of(task)
        if trial is None or trial.get("pair", host.name) != host.name:
            self._trials.pop(host.name, None)
        else:
            self._trials[host.name] = str(trial["id"])

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """Note the experiment, for the command that resumes it."""
        if action_of(result.task) == EXPERIMENT_ACTION and "pending" in result.result:
            self._experiment_id = str(result.result["experiment_id"])

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        """Stop watching: the playbook has finished, and every trial has cleaned up after itself."""
        self._trials, self._experiment_id = {}, None

    def _at_exit(self) -> None:
        if os.getpid() != self._pid:
            return
        if self._trials:
            be_patient()
            self._clean_up(", ".join(sorted(self._trials.values())))
        if self._experiment_id is not None:
            _say(f"resume with: {as_typed(resume_command(sys.argv, self._experiment_id))}")

    def _clean_up(self, trials: str) -> None:
        playbook = self.get_option("cleanup_playbook") or _own_playbook()
        command = cleanup_command(str(playbook), context.CLIARGS)
        heard = _say(f"interrupted: cleaning up the running trial ({trials}) ...")
        # Its output goes where ours does, unless that is gone, as a terminal is after SIGHUP. The descriptors are
        # passed explicitly because Ansible has made them non-inheritable.
        outputs = (sys.stdout.fileno(), sys.stderr.fileno()) if heard else (subprocess.DEVNULL, subprocess.DEVNULL)
        try:
            with ExitStack() as files:
                options = without_asking(context.CLIARGS, self._passwords, self._vault, files)
                # In a session of its own, because Ctrl-C reaches everything in ours.
                done = subprocess.run(
                    cleanup_command(str(playbook), options),
                    check=False,
                    timeout=TIMEOUT_S,
                    stdin=subprocess.DEVNULL,
                    stdout=outputs[0],
                    stderr=outputs[1],
                    start_new_session=True,
                    env={**os.environ, **UNASKED, ENVIRONMENT: ""},
                )
            problem = f"exit status {done.returncode}" if done.returncode else None
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = str(error)
        if problem:
            _say(f"the cleanup failed ({problem}); run it by hand: {as_typed(command)}")


def _own_playbook() -> Path:
    return Path(__file__).resolve().parents[2] / "playbooks" / "cleanup.yml"


def _say(text: str) -> bool:
    """Write a line; return False if there is nowhere left to write it."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError:
        return False
    return True
