# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the transaction must never do, on QEMUs with fixed answers; tests/integration has the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._destination import quota
from ansible_collections.vcsp.testbed.plugins.module_utils._host import domain
from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import ConnectionFailed, GuestGone
from ansible_collections.vcsp.testbed.plugins.module_utils._migration import drive, observe, session, transaction, undo
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.errors import MigrationError, MigrationFailed
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.phases import Phase
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.session import Session

from .test_fitness import INCOMING, RUNNING
from .test_result import options

GONE = GuestGone("gone")


class Qemu:
    """A monitor with fixed answers that records its commands; without answers there is no guest."""

    def __init__(self, role: str, **answers: Any) -> None:
        self.role, self.answers, self.executed = role, answers, []
        self.host = SimpleNamespace(connects=1)

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

    def is_alive(self) -> bool:
        return bool(self.answers)

    def destroy(self) -> None:
        self.executed.append("destroy")

    @contextmanager
    def translated(self) -> Iterator[None]:
        yield


@pytest.fixture(autouse=True)
def no_libvirt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "libvirt", SimpleNamespace(libvirtError=OSError), raising=False)
    monkeypatch.setattr(domain, "destroy", lambda guest: guest.destroy())
    monkeypatch.setattr(session, "UNDO_S", 0.2)
    monkeypatch.setattr(undo, "UNDO_S", 0.2)
    monkeypatch.setattr(session, "RETRY_S", 0.05)


def between(source: Qemu, destination: Qemu, **now: Any) -> Any:
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


@pytest.mark.parametrize("status", ["postcopy-device", "postcopy-active", "postcopy-paused", "completed"])
def test_a_source_that_has_switched_is_never_resumed(status: str) -> None:
    source = qemu("source", status, "postmigrate")
    destination = qemu("destination", "active" if status == "completed" else "postcopy-active", "inmigrate")
    call = between(source, destination, started=True)
    with pytest.raises(MigrationFailed) as caught:
        undo.give_back(call)
    assert call.now.switched
    error = reported(call, caught.value)
    assert error.phase is Phase.POSTCOPY or error.phase is Phase.PAUSED
    assert "destroy NEITHER half" in str(error)
    assert "cont" not in source.executed
    assert "destroy" not in destination.executed


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_source_stopped_by_a_failed_migration_is_resumed(status: str) -> None:
    source, destination = qemu("source", status, "paused"), qemu("destination", "none", "inmigrate")
    undo.give_back(between(source, destination, started=True))
    assert "cont" in source.executed
    assert "destroy" in destination.executed


@pytest.mark.parametrize("status", ["none", "completed"])
def test_a_source_that_somebody_paused_stays_paused(status: str) -> None:
    source = qemu("source", status, "paused")
    undo.give_back(between(source, Qemu("destination")))
    assert "cont" not in source.executed


def test_a_restored_guest_that_runs_is_left_alone() -> None:
    source = qemu("source", "completed")
    undo.give_back(between(source, Qemu("destination")))
    assert "cont" not in source.executed
    assert "migrate_cancel" not in source.executed


def test_a_guest_that_runs_on_both_hosts_is_destroyed_on_neither() -> None:
    source, destination = qemu("source", "completed"), qemu("destination", "completed")
    call = between(source, destination)
    with pytest.raises(MigrationFailed) as caught:
        undo.end_source(call)
    assert "exists on both hosts" in str(reported(call, caught.value))
    assert "destroy" not in source.executed + destination.executed


def test_a_quota_that_cannot_be_lifted_is_reported_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_domain: Any) -> None:
        raise ConnectionFailed("libvirt is away")

    monkeypatch.setattr(quota, "lift", refuse)
    call = between(Qemu("source"), qemu("destination", "completed"), throttled=True)
    with pytest.raises(MigrationFailed) as caught:
        undo.lift_quota(call)
    text = str(reported(call, caught.value))
    assert "still throttled" in text
    assert "nothing needs to be done" not in text
    assert "schedinfo" in text and "vcpu_quota=-1" in text


def test_a_switch_whose_reply_was_lost_may_have_happened() -> None:
    call = between(Qemu("source", migrate_start_postcopy=ConnectionFailed("lost")), qemu("destination", "active"))
    with pytest.raises(ConnectionFailed):
        drive.switch(call)
    assert call.now.switching is True


@pytest.mark.parametrize(
    ("source", "destination", "phase", "text"),
    [
        (qemu("source", "none"), Qemu("destination"), Phase.PREPARING, "runs on the source; nothing needs to be done"),
        (qemu("source", "failed"), Qemu("destination"), Phase.FAILED, "runs on the source; nothing needs to be done"),
        (qemu("source", "none", "paused"), Qemu("destination"), Phase.PREPARING, "but not running (paused)"),
        (
            qemu("source", "failed", "paused"),
            qemu("destination", "none", "inmigrate"),
            Phase.FAILED,
            "not running (paused",
        ),
        (qemu("source", "active", "finish-migrate"), Qemu("destination"), Phase.PRECOPY, "is on the source, where"),
        (Qemu("source"), qemu("destination", "completed"), Phase.COMPLETED, "runs on the destination; nothing needs"),
        (Qemu("source"), qemu("destination", "completed", "io-error"), Phase.COMPLETED, "but not running (io-error)"),
        (Qemu("source"), Qemu("destination"), Phase.LOST, "is gone: neither host runs it any more. Start it again"),
        (Qemu("source"), qemu("destination", "none", "inmigrate"), Phase.LOST, "is gone"),
        (qemu("source", "postcopy-paused", "finish-migrate"), Qemu("destination"), Phase.LOST, "must not be resumed"),
    ],
)
def test_an_error_says_where_the_guest_is_after_a_fresh_look(
    source: Qemu, destination: Qemu, phase: Phase, text: str
) -> None:
    # Whatever was known of the migration before.
    for before in ({"started": True, "switched": True, "source": "completed", "destination": "completed"}, {}):
        call = between(source, destination)
        call.now = replace(call.now, **before)
        error = reported(call, MigrationFailed("it did not work"))
        assert str(error).startswith("it did not work. The guest vcsp-guest ")
        assert text in str(error)
        assert error.phase is phase


def test_if_a_host_does_not_answer_the_guests_place_is_unknown() -> None:
    silent = Qemu("destination", query_migrate=ConnectionFailed("libvirt is away"))
    error = reported(between(qemu("source", "none"), silent), MigrationFailed("it did not work"))
    assert "It is unknown where the guest vcsp-guest is (libvirt is away)" in str(error)
    assert "runs on" not in str(error)


def test_a_guest_that_dies_under_observation_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LOOK_S", 0)
    call = between(Qemu("source"), Qemu("destination"))
    call.readings.destination_channel = SimpleNamespace(samples=[], verified=[])
    call.readings.events = [(0.0, SimpleNamespace(host="destination", name="RESUME", data={}))]
    with pytest.raises(MigrationFailed, match="the destination's QEMU ended while waiting for the end of the obs"):
        observe.observe(call)
    with pytest.raises(MigrationFailed, match="QEMU ended after the migration had completed"):
        observe.collect(call)
