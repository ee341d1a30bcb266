# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: progress
type: stdout
short_description: One line per trial, a progress bar and the time left
version_added: 0.1.0
description:
  - Prints one line per play and one per trial, with the trial's pair (if it has a name), method, workload and migration
    time, the experiment's progress and the time left. Ends with Table 3.
  - If a trial does not count, the reasons follow below its line. Failures are shown in full. Long tasks are named.
  - On a terminal, the last line shows what is currently running, of each pair.
  - With C(-v), and in check mode, the output is that of P(ansible.builtin.default#callback).
requirements:
  - set as stdout in configuration
extends_documentation_fragment:
  - default_callback
  - result_format_callback
seealso:
  - plugin: vcsp.testbed.guard
    plugin_type: callback
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from ansible import constants as C
from ansible import context
from ansible.executor.stats import AggregateStats
from ansible.executor.task_result import CallbackTaskResult
from ansible.inventory.host import Host
from ansible.playbook.included_file import IncludedFile
from ansible.playbook.play import Play
from ansible.playbook.task import Task
from ansible.plugins.callback.default import CallbackModule as DefaultCallback

from ansible_collections.vcsp.testbed.plugins.plugin_utils._console.progress import Course, counter, trial_line
from ansible_collections.vcsp.testbed.plugins.plugin_utils._console.running_trial import (
    EXPERIMENT_ACTION,
    RECORD_ACTION,
    REPORT_ACTION,
    action_of,
    trial_of,
)
from ansible_collections.vcsp.testbed.plugins.plugin_utils._console.status_line import StatusLine, duration

# Longer values are cut short in a failure: a file returned by a module would bury the message.
LONGEST_VALUE = 2000


class CallbackModule(DefaultCallback):
    """Ansible's usual output, reduced to what the user of an experiment needs."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "vcsp.testbed.progress"

    def __init__(self) -> None:
        super().__init__()
        # In check mode people want to see what would change.
        self._quiet = self._display.verbosity == 0 and not context.CLIARGS.get("check")
        self._status = StatusLine(self._display, C.COLOR_DEBUG)
        self._blocks = _can_print("█░»")
        self._failing = False
        self._course: Course | None = None
        self._experiment_id: str | None = None
        # Pair -> the trial that it is at, and the step of it.
        self._running: dict[str, tuple[Mapping[str, Any], str]] = {}
        self._began = time.monotonic()
        # Trial -> how it ended, the last time that it was run.
        self._ended: dict[str, str] = {}
        self._named: set[str] = set()

    # What is running

    def v2_playbook_on_play_start(self, play: Play) -> None:
        """Name the play."""
        if not self._quiet:
            super().v2_playbook_on_play_start(play)
            return
        self._play = play  # the default callback needs it for failures
        self._running = {}
        if self._course is not None:
            self._course.side_by_side = play.strategy.rpartition(".")[2] != "linear"
        self._status.end()
        # A check that several playbooks begin with is named once.
        if play.name and play.name not in self._named:
            self._named.add(play.name)
            self._status.say(f"{'»' if self._blocks else '>'} {play.name}", C.COLOR_DEBUG)

    def _task_start(self, task: Task, prefix: str | None = None) -> None:
        """Show the task or handler as the one running."""
        if self._quiet:
            self._begin_task(task)
        super()._task_start(task, prefix)

    def _begin_task(self, task: Task) -> None:
        name = task.get_name().strip()
        trial = trial_of(task)
        if trial is None or self._course is None:
            self._status.begin(f"  {name}", remembered=trial is None)
            return
        self._running[trial.get("pair", "")] = trial, name.rpartition(" : ")[2]
        number = counter(min(self._course.finished + 1, self._course.total), self._course.total)
        steps = [f"{self._course.subject(each)}  {step}" for each, step in self._running.values()]
        since = min(self._course.began_s(each) for each, _step in self._running.values())
        self._status.begin(f"{number} {'  |  '.join(steps)}", since=since, remembered=False)

    def _print_task_banner(self, task: Task) -> None:
        """Print banners only for failed tasks."""
        if not self._quiet or self._failing:
            super()._print_task_banner(task)

    # What it returned

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """Show results meant for the user, and only the warnings of all others."""
        if self._quiet:
            self._ended_well(result)
        else:
            super().v2_runner_on_ok(result)

    def v2_runner_item_on_ok(self, result: CallbackTaskResult) -> None:
        """Do the same for a loop item."""
        if self._quiet:
            self._ended_well(result)
        else:
            super().v2_runner_item_on_ok(result)

    def v2_runner_on_skipped(self, result: CallbackTaskResult) -> None:
        """Show nothing but warnings."""
        if self._quiet:
            self._handle_warnings_and_exception(result)
        else:
            super().v2_runner_on_skipped(result)

    def v2_runner_item_on_skipped(self, result: CallbackTaskResult) -> None:
        """Show nothing but warnings."""
        if self._quiet:
            self._handle_warnings_and_exception(result)
        else:
            super().v2_runner_item_on_skipped(result)

    def v2_runner_retry(self, result: CallbackTaskResult) -> None:
        """Show retries with -v only: waiting is not a failure."""
        if not self._quiet:
            super().v2_runner_retry(result)

    def v2_runner_on_start(self, host: Host, task: Task) -> None:
        """Show starts with -v only."""
        if not self._quiet:
            super().v2_runner_on_start(host, task)

    def v2_playbook_on_include(self, included_file: IncludedFile) -> None:
        """Show includes with -v only."""
        if not self._quiet:
            super().v2_playbook_on_include(included_file)

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        """Show a failure in full; one that the play ignores, for it says so itself, with -v only."""
        if ignore_errors and self._quiet:
            return
        with self._failure(result.task):
            super().v2_runner_on_failed(result, ignore_errors)

    def v2_runner_item_on_failed(self, result: CallbackTaskResult) -> None:
        """Show the failure of an item in full."""
        with self._failure(result.task):
            super().v2_runner_item_on_failed(result)

    def v2_runner_on_unreachable(self, result: CallbackTaskResult) -> None:
        """Show an unreachable host in full; one that the play ignores, for it says so itself, with -v only."""
        if result.task.ignore_unreachable and self._quiet:
            return
        with self._failure(result.task):
            super().v2_runner_on_unreachable(result)

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        """Sum up the trials, and the hosts if one has failed."""
        self._status.end()
        self._status.stop()
        if not self._quiet or stats.failures or stats.dark:
            super().v2_playbook_on_stats(stats)
        if self._ended:
            counts = Counter(self._ended.values())
            parts = ", ".join(f"{counts[status]} {status}" for status in sorted(counts, reverse=True))
            took = duration(time.monotonic() - self._began)
            self._status.say(f"{len(self._ended)} trials in {took}: {parts}")

    def _ended_well(self, result: CallbackTaskResult) -> None:
        self._handle_warnings_and_exception(result)
        returned, action = result.result, action_of(result.task)
        if result.task.loop and "results" in returned:
            return  # its items have been shown
        if action == EXPERIMENT_ACTION and "pending" in returned:
            self._begin_experiment(returned)
        elif action == RECORD_ACTION:
            self._end_trial(returned)
        elif action == REPORT_ACTION and "table" in returned:
            self._status.say(f"\n{returned['table']}\n\nReport: {returned['path']}")
        elif returned.get("_ansible_verbose_always"):  # debug
            self._clean_results(returned, result.task.action)
            shown = returned.get("msg")
            self._status.say(shown if isinstance(shown, str) else self._dump_results(returned).lstrip("\n"))

    def _begin_experiment(self, returned: Mapping[str, Any]) -> None:
        now = time.monotonic()
        self._course = Course(returned["pending"], len(returned["done"]), now)
        # The second pass, after a pair has died, goes on with the same.
        if self._experiment_id != returned["experiment_id"]:
            self._experiment_id, self._began, self._ended = returned["experiment_id"], now, {}
        again = f", {len(returned['done'])} of them done already" if returned["done"] else ""
        self._status.say(f"Experiment {returned['experiment_id']}: {returned['total']} trials{again}")

    def _end_trial(self, returned: Mapping[str, Any]) -> None:
        if self._course is None:  # a record without an experiment around it
            self._course = Course([returned["trial"]], 0, self._began)
        self._course.end(returned["trial"], time.monotonic())
        self._running.pop(returned["trial"].get("pair", ""), None)
        self._ended[returned["trial"]["id"]] = returned["status"]
        color = None if returned["valid"] else C.COLOR_ERROR
        self._status.say(trial_line(self._course, returned, self._blocks), color)
        indent = " " * (len(counter(0, self._course.total)) + 1)
        for reason in returned["reasons"]:
            self._status.say("\n".join(indent + line for line in str(reason).splitlines()), color)

    # Failures and warnings

    @contextmanager
    def _failure(self, task: Task) -> Iterator[None]:
        with self._status.aside():
            self._failing = True
            yield
            self._failing = False
            if self._quiet:
                self._print_task_path(task)

    def _handle_warnings(self, res: MutableMapping[str, Any]) -> None:
        with self._status.aside():
            super()._handle_warnings(res)

    def _handle_exception(self, result: MutableMapping[str, Any], use_stderr: bool = False) -> None:
        """Show the exception chain with -v only: the message has its text, and its line numbers are in templates."""
        if self._quiet:
            result.pop("exception", None)
        else:
            super()._handle_exception(result, use_stderr)

    def _dump_results(self, result: Mapping[str, Any], *arguments: Any, **keywords: Any) -> str:
        dumped: str = super()._dump_results(_shortened(result) if self._quiet else result, *arguments, **keywords)
        return dumped


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _shortened(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _shortened(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_shortened(part) for part in value]
    if isinstance(value, str) and len(value) > LONGEST_VALUE:
        return f"{value[:LONGEST_VALUE]}... ({len(value)} characters, all of them with -v)"
    return value
