# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two QEMUs with fixed answers, and a call between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import (
    GuestGone,
)
from ansible_collections.vcsp.testbed.plugins.module_utils._migration import (
    transaction,
)
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.errors import MigrationError
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.session import Session

from .test_fitness import INCOMING, RUNNING
from .test_result import options

GONE = GuestGone("gone")


class Qemu:
    """A monitor with fixed answers that records its commands; without answers there is no guest."""

    def __init__(self, role: str, **answers: Any) -> None:
        self.role, self.answers, self.executed = role, answers, []
        self.host = SimpleNamespace(connects=1)
        self.reason = 0

    @property
    def domain(self) -> Any:
        if not self.answers:
            raise GONE
        return self

    def XMLDesc(self) -> str:  # noqa: N802 - libvirt's name
        return INCOMING if self.role == "destination" else RUNNING

    def execute(self, command: str, **_arguments: Any) -> Any:
        self.executed.append(command)
        if not self.answers:
            raise GONE
        answer = self.answers.get(command.replace("-", "_"), {})
        if isinstance(answer, Exception):
            raise answer
        return answer

    def state(self) -> list[int]:
        return [1 if self.answers["query_status"]["running"] else 3, self.reason]

    def is_alive(self) -> bool:
        return bool(self.answers)

    def destroy(self) -> None:
        self.executed.append("destroy")

    @contextmanager
    def translated(self) -> Iterator[None]:
        yield


def between(source: Qemu, destination: Qemu, /, **now: Any) -> Any:
    made: Any = Session(options(), report=lambda _line: None)
    made.source, made.destination = source, destination
    made.now = replace(made.now, **now)
    return made


def qemu(role: str, migration: str, run_state: str = "running") -> Qemu:
    status = {"running": run_state == "running", "status": run_state}
    return Qemu(role, query_migrate={"status": migration}, query_status=status)


def reported(call: Session, error: Exception) -> MigrationError:
    with pytest.raises(MigrationError) as caught, transaction._reported(call):
        raise error
    return caught.value
