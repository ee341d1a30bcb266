# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A guest that is paused, or does not run, is reported as that."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._migration import (
    drive,
    observe,
    run_state,
)
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.errors import MigrationFailed

from .test_result import options
from .two_hosts import Qemu, between, qemu

pytestmark = pytest.mark.usefixtures("no_libvirt")


def test_a_guest_paused_under_observation_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "LOOK_S", 0)
    call = between(Qemu("source"), qemu("destination", "completed", "io-error"))
    call.readings.destination_channel = SimpleNamespace(samples=[], verified=[])
    call.readings.events = [(0.0, SimpleNamespace(host="destination", name="RESUME", data={}))]
    with pytest.raises(MigrationFailed, match=r"the guest vcsp-guest is not running \(io-error\)"):
        observe.observe(call)
    call.readings.run_state = "running"
    with pytest.raises(MigrationFailed, match="is not running"):
        observe.collect(call)


def test_a_guest_that_arrived_paused_is_not_waited_for() -> None:
    call = between(Qemu("source"), qemu("destination", "completed", "paused"), paused=True)
    call.readings.destination_channel = SimpleNamespace(samples=[], verified=[])
    call.readings.events = [(0.0, SimpleNamespace(host="destination", name="RESUME", data={}))]
    warnings: list[str] = []
    call.report = warnings.append
    run_state.settle(call)
    observe.observe(call)
    observe.collect(call)
    assert call.now.failure is None
    assert (call.readings.run_state, call.readings.was_paused) == ("paused", True)
    assert "resume it with virsh" in warnings[0]


@pytest.mark.parametrize(
    ("state", "resumed", "text"),
    [
        ("paused", False, "it arrived paused, because somebody stopped the waiting destination"),
        ("paused", True, "it stopped on the destination after the switch (paused)"),
        ("io-error", True, "it stopped on the destination after the switch (io-error)"),
    ],
)
def test_a_guest_at_home_that_does_not_run_is_not_well(state: str, resumed: bool, text: str) -> None:
    call = between(qemu("source", "completed", "postmigrate"), qemu("destination", "completed", state))
    if resumed:
        call.readings.events = [(0.0, SimpleNamespace(host="destination", name="RESUME", data={}))]
    run_state.settle(call)
    assert text in call.now.failure


def test_a_paused_guest_at_home_is_resumed_if_the_call_asks_for_that() -> None:
    destination = qemu("destination", "completed", "paused")
    call = between(Qemu("source"), destination)
    call.options = options(run_state="running")
    run_state.settle(call)
    assert "cont" in destination.executed
    assert (call.now.failure, call.readings.run_state, call.readings.resumed) == (None, "running", True)


@pytest.mark.parametrize(
    ("state", "executed", "switches"),
    [("running", [], True), ("paused", ["stop"], True), ("finish-migrate", [], True), ("io-error", [], False)],
)
def test_before_the_switch_the_source_says_how_the_guest_arrives(
    state: str, executed: list[str], switches: bool
) -> None:
    source, destination = qemu("source", "active", state), qemu("destination", "active", "inmigrate")
    call = between(source, destination, started=True)
    drive.switch(call)
    assert destination.executed == executed
    assert ("migrate-start-postcopy" in source.executed) == call.now.switching == switches
    assert (call.now.failure is None) == switches


@pytest.mark.parametrize(("reason", "stopped"), [(0, False), (1, True)])
def test_a_guest_suspended_at_the_last_moment_is_stopped_on_the_destination(reason: int, stopped: bool) -> None:
    source, destination = qemu("source", "postcopy-active", "finish-migrate"), qemu("destination", "postcopy-active")
    source.reason = reason
    call = between(source, destination, started=True, switched=True)
    run_state.catch_up(call)
    run_state.catch_up(call)
    assert destination.executed == ["stop"] * stopped
    assert call.now.paused == stopped
