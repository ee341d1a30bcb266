# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Time limits: no progress, a total, and hosts that hang."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import (
    ConnectionFailed,
    NoAnswer,
)
from ansible_collections.vcsp.testbed.plugins.module_utils._migration import (
    drive,
)
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.errors import MigrationFailed
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.session import Session

from .test_result import options
from .two_hosts import Qemu, between, qemu

pytestmark = pytest.mark.usefixtures("no_libvirt")


@pytest.mark.parametrize(("late", "cancelled"), [(True, None), (False, "received SIGTERM")])
def test_a_host_that_hangs_is_not_waited_for_once_the_call_should_end(late: bool, cancelled: str | None) -> None:
    call = between(Qemu("source"), Qemu("destination"))
    call.cancellation.reason = cancelled
    call.deadline_s = 0 if late else call.deadline_s
    asked = []

    def hang() -> None:
        asked.append(1)
        raise NoAnswer("hung")

    with pytest.raises(ConnectionFailed):
        call.insist(hang)
    assert asked == [1]


def late(monkeypatch: pytest.MonkeyPatch, left: list[float], **changes: Any) -> Any:
    """A migration in post-copy that is looked at every 200 s; what is left of it each time."""
    clock = [0.0]
    monkeypatch.setattr(drive.time, "monotonic", lambda: clock[0])
    call: Any = Session(options(timeout_s=300.0, **changes), report=lambda _line: None)
    call.destination = qemu("destination", "postcopy-active")
    call.now = replace(call.now, started=True, switching=True, switched=True)
    call.deadline_s, call.give_up_s = 300.0, changes.get("total_timeout_s") or math.inf
    working_set = SimpleNamespace(arrived=lambda _requests: False)
    for mb in left:
        ram = {"transferred": clock[0], "remaining": mb}
        call.source = Qemu("source", query_migrate={"status": "postcopy-active", "ram": ram})
        call.now = drive.look(call, working_set)
        drive._check_deadline(call)
        clock[0] += 200
    return call


def test_a_large_guest_may_take_as_long_as_it_makes_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    assert late(monkeypatch, list(range(64000, 0, -6400))).now.failure is None


@pytest.mark.parametrize("left", [[64000.0] * 3, [64000.0 - step for step in range(4)]], ids=["none", "a trickle"])
def test_without_progress_the_guest_heads_for_home_and_then_the_module_gives_up(
    monkeypatch: pytest.MonkeyPatch, left: list[float]
) -> None:
    assert "no progress for 300 s" in late(monkeypatch, left).now.failure
    with pytest.raises(MigrationFailed, match="came no closer to home for another 300 s"):
        late(monkeypatch, left * 2)


def test_a_total_limit_holds_in_spite_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    call = late(monkeypatch, list(range(64000, 0, -6400)), total_timeout_s=1000.0)
    assert "did not end within 1000 s" in call.now.failure


@pytest.mark.parametrize(("reason", "advised"), [("received SIGTERM", False), (None, True)])
def test_only_a_wait_that_took_too_long_advises(reason: str | None, advised: bool) -> None:
    call = between(qemu("source", "none"), qemu("destination", "none", "inmigrate"))
    call.cancellation.reason = reason
    with pytest.raises(MigrationFailed) as failure:
        call.wait(lambda: False, 0.0, "the baseline", advice="look at the workload")
    assert ("look at the workload" in str(failure.value)) == advised
