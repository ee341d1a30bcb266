# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an error says about where the guest is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import (
    ConnectionFailed,
    NoAnswer,
)
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.errors import GuestLost, MigrationFailed
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.phases import Phase

from .two_hosts import Qemu, between, qemu, reported

pytestmark = pytest.mark.usefixtures("no_libvirt")


@pytest.mark.parametrize(
    ("now", "text"),
    [
        ({}, "it was on the source"),
        ({"started": True, "switching": True, "source": "active"}, "it was about to switch"),
        ({"started": True, "switched": True, "source": "postcopy-active", "destination": "postcopy-active"}, "split"),
        ({"started": True, "switched": True, "source": "completed", "destination": "completed"}, "whole on the dest"),
    ],
)
def test_an_error_says_what_was_last_seen_of_a_host_that_does_not_answer(now: dict[str, Any], text: str) -> None:
    silent = Qemu("source", query_migrate=NoAnswer("it hangs"))
    call = between(silent, qemu("destination", "none"))
    call.claimed = True
    call.now = replace(call.now, **now)
    error = reported(call, MigrationFailed("it did not work"))
    assert text in str(error)
    assert "destroy NEITHER" in str(error) and "domstate" in str(error)


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
        (Qemu("source"), qemu("destination", "postcopy-paused"), Phase.LOST, "lacks memory that exists nowhere else"),
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


def test_a_guest_that_ends_right_after_its_migration_is_not_to_be_resumed_on_the_source() -> None:
    call = between(qemu("source", "completed", "postmigrate"), Qemu("destination"), started=True, switched=True)
    error = reported(call, MigrationFailed("the guest's memory is lost"))
    assert error.phase is Phase.LOST
    assert "has left the source, and is not on the destination" in str(error)
    assert "must not be resumed" in str(error)


def test_a_half_that_hangs_because_the_other_one_is_gone_is_what_is_left_of_a_lost_guest() -> None:
    silent = Qemu("destination", query_migrate=NoAnswer("it waits for memory"))
    now = {"started": True, "switched": True, "source": None, "destination": "postcopy-paused"}
    error = reported(between(Qemu("source"), silent, **now), GuestLost("the guest's memory is lost"))
    assert "The guest vcsp-guest is lost. Its half on the destination lacks memory" in str(error)
    assert "destroy NEITHER" not in str(error)
    assert error.phase is Phase.LOST


def test_if_a_host_does_not_answer_the_guests_place_is_unknown() -> None:
    silent = Qemu("destination", query_migrate=ConnectionFailed("libvirt is away"))
    error = reported(between(qemu("source", "none"), silent), MigrationFailed("it did not work"))
    assert "It is unknown where the guest vcsp-guest is (libvirt is away)" in str(error)
    assert "runs on" not in str(error)
    assert "last seen" not in str(error), "this call has not looked yet"
