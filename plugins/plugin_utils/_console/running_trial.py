# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which trial does a task belong to?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

EXPERIMENT_ACTION = "vcsp.testbed.experiment"
RECORD_ACTION = "vcsp.testbed.record"
REPORT_ACTION = "vcsp.testbed.report"
_KEYS = {"id", "index", "total", "repeat", "workload", "method"}


class TaskLike(Protocol):
    """The part of ansible.playbook.task.Task that is used."""

    action: str
    resolved_action: str | None
    check_mode: bool

    def get_vars(self) -> Mapping[str, Any]:
        """Return the variables of the task itself and of what includes it."""


def action_of(task: TaskLike) -> str | None:
    """Return the full name of a task's action, however the playbook writes it; None in check mode."""
    return None if task.check_mode else task.resolved_action or task.action


def trial_of(task: TaskLike) -> Mapping[str, Any] | None:
    """Return the trial for which a task was included: the one that its role is looped over; None for other tasks."""
    for value in task.get_vars().values():
        if isinstance(value, Mapping) and value.keys() >= _KEYS:
            return value
    return None
