# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a migration changes on the source is noted there first, and put back from the note by whoever comes next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._destination import quota
from ansible_collections.vcsp.testbed.plugins.module_utils._host import domain as domains
from ansible_collections.vcsp.testbed.plugins.module_utils._migration import (
    drive,
    encryption,
    journal,
    session,
    transaction,
    undo,
)
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.errors import MigrationError, MigrationFailed
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.owner import Owner
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.session import Session

from .test_result import options

ORIGINAL = {"max-bandwidth": 134217728, "max-postcopy-bandwidth": 0}
OTHER = Owner("2", "node3", 4711, "2026-11-25T16:50:03Z")


class Guest:
    """A side's monitor and domain in one, with settings that can be changed and read."""

    def __init__(self, role: str, migration: str = "none", run_state: str = "running") -> None:
        self.role, self.migration, self.run_state = role, migration, run_state
        self.parameters = dict(ORIGINAL)
        self.switches = {"postcopy-ram": False, "postcopy-preempt": False, "events": True}
        self.notes: dict[str, ElementTree.Element] = {}
        self.number, self.destroyed = 7, False

    @property
    def domain(self) -> Any:
        return self

    @contextmanager
    def translated(self) -> Iterator[None]:
        yield

    @property
    def host(self) -> Any:
        return SimpleNamespace(connection=lambda: SimpleNamespace(getHostname=lambda: "node1"))

    def ID(self) -> int:  # noqa: N802 - libvirt's name
        return self.number

    def capabilities(self) -> dict[str, bool]:
        return dict(self.switches)

    def set_capabilities(self, **wanted: bool) -> None:
        self.switches.update({name.replace("_", "-"): state for name, state in wanted.items()})

    def execute(self, command: str, **arguments: Any) -> Any:
        if command == "migrate-set-parameters":
            self.parameters.update({name.replace("_", "-"): value for name, value in arguments.items()})
        return {
            "query-migrate-parameters": dict(self.parameters),
            "query-migrate": {"status": self.migration},
            "query-status": {"status": self.run_state, "running": self.run_state == "running"},
        }.get(command)

    def destroy(self) -> None:
        self.destroyed = True

    def changed_by_us(self) -> None:
        self.set_capabilities(postcopy_ram=True, postcopy_preempt=True)
        self.execute("migrate-set-parameters", max_bandwidth=262144, max_postcopy_bandwidth=4096)

    @property
    def as_before(self) -> bool:
        return self.parameters == ORIGINAL and not self.switches["postcopy-ram"] | self.switches["postcopy-preempt"]


@pytest.fixture(autouse=True)
def notes(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(guest: Guest, namespace: str, note: ElementTree.Element | None) -> None:
        guest.notes.pop(namespace, None)
        if note is not None:
            guest.notes[namespace] = note

    monkeypatch.setattr(domains, "read_note", lambda guest, namespace: guest.notes.get(namespace))
    monkeypatch.setattr(domains, "write_note", write)
    monkeypatch.setattr(domains, "destroy", lambda guest: guest.destroy())
    monkeypatch.setattr(quota, "lift", lambda guest: guest.notes.pop(domains.QUOTA_NOTE, None) is not None)
    monkeypatch.setattr(session, "libvirt", SimpleNamespace(libvirtError=OSError), raising=False)


def call(source: Guest, destination: Guest | None = None) -> Any:
    lines: list[str] = []
    made: Any = Session(options(), report=lines.append)
    made.source, made.destination = source, destination or Guest("destination", "none", "inmigrate")
    made.lines = lines
    return made


def claimed(made: Any) -> Any:
    journal.claim(made.source, made.owner)
    made.claimed = True
    made.source.changed_by_us()
    return made


def test_the_next_call_puts_back_what_a_killed_one_changed() -> None:
    source = Guest("source")
    claimed(call(source))
    again = call(source)
    undo.put_back_left_over(again)
    assert source.as_before
    assert source.notes == {}
    assert again.readings.settings_left_over
    assert len(again.lines) == 1


def test_our_own_leftovers_are_never_taken_for_what_was_there_before() -> None:
    source = Guest("source")
    claimed(call(source))
    second = call(source)
    undo.put_back_left_over(second)
    claimed(second)
    undo.give_back(second)
    assert source.as_before
    assert source.notes == {}


def test_looking_changes_nothing() -> None:
    source = Guest("source")
    claimed(call(source))
    assert undo.left_over(call(source)) == [source]
    assert not source.as_before
    assert undo.left_over(call(Guest("source"))) == []


def test_a_call_in_the_other_direction_puts_back_too() -> None:
    source = Guest("source")
    claimed(call(source))
    undo.put_back_left_over(call(Guest("source", "none", "inmigrate"), destination=source))
    assert source.as_before


@pytest.mark.parametrize(
    ("migration", "run_state"),
    [("active", "running"), ("postcopy-active", "finish-migrate"), ("completed", "postmigrate"), ("none", "inmigrate")],
)
def test_a_guest_that_is_not_whole_is_left_as_it_is(migration: str, run_state: str) -> None:
    source = Guest("source")
    claimed(call(source))
    source.migration, source.run_state = migration, run_state
    undo.put_back_left_over(call(source))
    assert not source.as_before
    assert undo.left_over(call(source)) == []


def test_a_note_that_was_copied_from_another_qemu_is_only_removed() -> None:
    source = Guest("source")
    claimed(call(source))
    source.number += 1
    assert not journal.changed(source)
    assert journal.put_back(source) is False
    assert not source.as_before
    assert source.notes == {}


@pytest.mark.parametrize("step", [undo.give_back, undo.check_owner, drive.start])
@pytest.mark.parametrize("known", [True, False])
def test_a_call_whose_guest_was_taken_over_touches_nothing_of_the_source(step: Any, known: bool) -> None:
    source = Guest("source")
    first = claimed(call(source))
    source.notes.clear()
    if known:
        journal.claim(source, OTHER)
    with pytest.raises(MigrationError) as caught:
        step(first)
    assert ("(process 4711 on node3, since 16:50:03 UTC)" in str(caught.value)) is known
    assert "nothing needs to be done" not in str(caught.value)
    assert not source.as_before
    assert first.destination.destroyed, "its own half waits no longer"


def test_a_guest_that_another_host_moves_just_now_is_refused() -> None:
    for migration in ("active", "postcopy-active", "postcopy-paused"):
        source = Guest("source", migration)
        journal.claim(source, OTHER)
        with pytest.raises(MigrationError, match=r"another call \(process 4711 on node3, since 16:50:03 UTC\): wait"):
            transaction._check_elsewhere(call(source))
    source.migration = "none"
    transaction._check_elsewhere(call(source))


def test_the_name_of_the_last_owner_goes_from_the_guest_that_is_home() -> None:
    home = Guest("destination", "completed")
    journal.sign(home, OTHER)
    assert home.notes
    transaction._sign_off(call(Guest("source"), home))
    assert home.notes == {}
    claimed(call(home))
    transaction._sign_off(call(Guest("source"), home))
    assert home.notes, "it is on its way to a third host, whose call noted this"


@pytest.mark.parametrize(("migration", "left"), [("completed", ""), ("postcopy-paused", encryption.CREDENTIALS)])
def test_credentials_go_with_the_note_unless_a_recovery_needs_them(migration: str, left: str) -> None:
    home = Guest("destination", migration)
    journal.sign(home, OTHER)
    home.parameters["tls-creds"] = encryption.CREDENTIALS
    transaction._sign_off(call(Guest("source"), home))
    assert encryption.in_use(home) == left


def test_a_guest_given_back_has_no_note_even_if_nothing_was_changed_yet() -> None:
    first = call(source := Guest("source"))
    journal.claim(source, first.owner)
    first.claimed = True
    undo.give_back(first)
    assert source.notes == {}
    with pytest.raises(MigrationFailed, match="not listening"):
        drive.start(first)  # whoever has no claim has nothing to lose


@pytest.mark.parametrize("holds", [True, False])
def test_the_dead_man_holds_no_hold_before_the_switch_nor_after_the_release(holds: bool) -> None:
    said: list[str] = []
    made = claimed(call(Guest("source")))
    made.dead_man = SimpleNamespace(
        arm=lambda what, run: said.append(f"arm {what} {run[-1]}"), disarm=lambda what: said.append(f"disarm {what}")
    )
    made.now = replace(made.now, held=holds)
    drive.switch(made)
    drive.release(made)
    release = '{"execute": "migrate-set-parameters", "arguments": {"max-postcopy-bandwidth": 0}}'
    assert said == [*([f"arm hold {release}"] if holds else []), "disarm hold"]
    assert made.now.held is False
