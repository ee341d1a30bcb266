# SPDX-License-Identifier: GPL-3.0-or-later
"""What the transaction must never do, on QEMUs that only answer; tests/integration has the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import ConnectionFailed, GuestGone
from ansible_collections.vcsp.testbed.plugins.module_utils._migration import transaction as module
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.errors import MigrationError
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.phases import Phase
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.transaction import Migration

from .test_result import settings


class Qemu:
    """A monitor with fixed answers, which remembers what it was told."""

    def __init__(self, role: str, **answers: Any) -> None:
        self.role, self.answers, self.told = role, answers, []
        self.domain = self

    def execute(self, command: str, **_arguments: Any) -> Any:
        self.told.append(command)
        answer = self.answers.get(command.replace("-", "_"), {})
        if isinstance(answer, Exception):
            raise answer
        return answer

    def destroy(self) -> None:
        self.told.append("destroy")

    @contextmanager
    def translated(self) -> Iterator[None]:
        yield


@pytest.fixture(autouse=True)
def no_libvirt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "libvirt", SimpleNamespace(libvirtError=OSError), raising=False)
    monkeypatch.setattr(module.domains, "destroy", lambda domain: domain.destroy())
    monkeypatch.setattr(module, "UNDO_S", 0.2)
    monkeypatch.setattr(module, "RETRY_S", 0.05)


def migration(source: Qemu, destination: Qemu, **state: Any) -> Any:
    made = Migration(settings())
    for name, value in {"_source": source, "_destination": destination, **state}.items():
        setattr(made, name, value)
    return made


def running(yes: bool, status: str = "running") -> dict[str, Any]:
    return {"running": yes, "status": status}


@pytest.mark.parametrize("status", ["postcopy-device", "postcopy-active", "postcopy-paused", "completed"])
def test_a_source_that_has_switched_meanwhile_is_never_continued(status: str) -> None:
    source = Qemu("source", query_migrate={"status": status}, query_status=running(False, "postmigrate"))
    destination = Qemu("destination", query_status=running(False, "inmigrate"))
    with pytest.raises(MigrationError) as caught:
        migration(source, destination, _started=True)._give_back()
    assert caught.value.phase is Phase.POSTCOPY
    assert "destroy NEITHER half" in str(caught.value)
    assert "cont" not in source.told
    assert "destroy" not in destination.told


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_source_that_stopped_for_nothing_is_continued(status: str) -> None:
    source = Qemu("source", query_migrate={"status": status}, query_status=running(False, "paused"))
    destination = Qemu("destination", query_status=running(False, "inmigrate"))
    migration(source, destination, _started=True)._give_back()
    assert "cont" in source.told
    assert "destroy" in destination.told


@pytest.mark.parametrize("status", ["none", "completed"])
def test_a_source_that_somebody_paused_stays_paused(status: str) -> None:
    source = Qemu("source", query_migrate={"status": status}, query_status=running(False, "paused"))
    migration(source, Qemu("destination", query_status=GuestGone("gone")))._give_back()
    assert "cont" not in source.told


def test_a_restored_guest_that_runs_is_left_as_it_is() -> None:
    source = Qemu("source", query_migrate={"status": "completed"}, query_status=running(True))
    migration(source, Qemu("destination", query_status=GuestGone("gone")))._give_back()
    assert "cont" not in source.told
    assert "migrate_cancel" not in source.told


def test_a_guest_that_runs_on_both_hosts_is_ended_on_none() -> None:
    source, destination = Qemu("source", query_status=running(True)), Qemu("destination")
    with pytest.raises(MigrationError, match="runs on both hosts"):
        migration(source, destination)._end_the_rest()
    assert "destroy" not in source.told + destination.told


def test_a_quota_that_cannot_be_lifted_is_told_with_the_way_to_lift_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_domain: Any) -> None:
        raise ConnectionFailed("libvirt is away")

    monkeypatch.setattr(module.quota, "lift", refuse)
    with pytest.raises(MigrationError, match=r"still throttled.*schedinfo.*vcpu_quota=-1"):
        migration(Qemu("source"), Qemu("destination"), _throttled=True)._lift_quota()


def test_a_switch_whose_answer_was_lost_may_have_been_made() -> None:
    made = migration(Qemu("source", migrate_start_postcopy=ConnectionFailed("lost")), Qemu("destination"))
    with pytest.raises(ConnectionFailed):
        made._switch()
    assert made._switching is True
