# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is undone after a failure, and what must not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._destination import quota
from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import (
    ConnectionFailed,
    NoAnswer,
    QmpError,
)
from ansible_collections.vcsp.testbed.plugins.module_utils._migration import (
    drive,
    undo,
)
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.errors import MigrationFailed
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.phases import Phase

from .two_hosts import Qemu, between, qemu, reported

pytestmark = pytest.mark.usefixtures("no_libvirt")


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
    source, destination = qemu("source", status, "finish-migrate"), qemu("destination", "none", "inmigrate")
    undo.give_back(between(source, destination, started=True))
    assert "cont" in source.executed
    assert "destroy" in destination.executed


@pytest.mark.parametrize("status", ["none", "completed", "failed", "cancelled"])
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


def test_a_quota_that_libvirt_cannot_lift_is_lifted_in_the_cgroup(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def hang(_domain: Any) -> None:
        raise NoAnswer("libvirt hangs")

    monkeypatch.setattr(quota, "lift", hang)
    said: list[str] = []
    call = between(Qemu("source"), qemu("destination", "completed"), throttled=True)
    call.report = said.append
    (tmp_path / "cpu.max").write_text("5000 10000")
    call.limits_before = ((tmp_path / "cpu.max", "max 100000"),)
    call.deadline_s = 0
    undo.lift_quota(call)
    assert (tmp_path / "cpu.max").read_text() == "max 100000"
    assert not call.now.throttled
    assert "in the guest's cgroups only" in said[0]


def test_a_refused_step_of_the_undoing_does_not_keep_the_others_from_being_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_monitor: Any) -> None:
        raise QmpError("migrate-set-capabilities", "GenericError", "no")

    monkeypatch.setattr(undo.journal, "put_back", refuse)
    destination = qemu("destination", "none", "inmigrate")
    with pytest.raises(QmpError):
        undo.give_back(between(qemu("source", "none"), destination))
    assert "destroy" in destination.executed


def test_a_destination_is_kept_while_the_source_hangs_and_may_have_switched() -> None:
    source, destination = Qemu("source", query_migrate=NoAnswer("hung")), qemu("destination", "active", "inmigrate")
    call = between(source, destination, started=True)
    with pytest.raises(ConnectionFailed):
        undo.give_back(call)
    assert "destroy" not in destination.executed


def test_a_source_that_took_its_guest_back_ends_the_other_half() -> None:
    source, destination = qemu("source", "failed"), qemu("destination", "postcopy-active")
    call = between(source, destination, started=True, switched=True, source="failed", destination="postcopy-active")
    assert "the source goes on with the guest" in str(drive._lost(call))
    assert "destroy" in destination.executed
    assert "destroy" not in source.executed


def test_a_cancellation_keeps_the_destination_from_running_first() -> None:
    source, destination = qemu("source", "active"), qemu("destination", "active", "inmigrate")
    call = between(source, destination, started=True)
    source.execute = cancelled(source, destination)
    undo.give_back(call)
    assert "migrate_cancel" in source.executed
    assert destination.executed.index("stop") < destination.executed.index("destroy")


def cancelled(source: Qemu, destination: Qemu) -> Any:
    """QEMU that cancels when it is asked to; it must not be before the destination was stopped."""
    plain = source.execute

    def execute(command: str, **arguments: Any) -> Any:
        if command == "migrate_cancel":
            assert "stop" in destination.executed
            source.answers["query_migrate"] = {"status": "cancelled"}
        return plain(command, **arguments)

    return execute
