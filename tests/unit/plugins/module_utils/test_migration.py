# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the transaction must never do, on QEMUs with fixed answers; tests/integration has the real ones."""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._destination.prefetch import Block, PrefetchError
from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import (
    ConnectionFailed,
    QmpError,
)
from ansible_collections.vcsp.testbed.plugins.module_utils._method import Method
from ansible_collections.vcsp.testbed.plugins.module_utils._migration import (
    drive,
    observe,
    prepare,
    session,
)
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.errors import MigrationFailed
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.only_measuring import only_measuring
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.prepare import trace_entries

from .two_hosts import Qemu, between, qemu

pytestmark = pytest.mark.usefixtures("no_libvirt")


def test_a_switch_whose_reply_was_lost_may_have_happened() -> None:
    source = qemu("source", "active")
    source.answers["migrate_start_postcopy"] = ConnectionFailed("lost")
    call = between(source, qemu("destination", "active"))
    with pytest.raises(ConnectionFailed):
        drive.switch(call)
    assert call.now.switching is True


def test_a_guest_that_dies_under_observation_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LOOK_S", 0)
    call = between(Qemu("source"), Qemu("destination"))
    call.readings.destination_channel = SimpleNamespace(samples=[], verified=[])
    call.readings.events = [(0.0, SimpleNamespace(host="destination", name="RESUME", data={}))]
    with pytest.raises(MigrationFailed, match="the destination's QEMU ended while waiting for the end of the obs"):
        observe.observe(call)
    with pytest.raises(MigrationFailed, match="QEMU ended after the migration had completed"):
        observe.collect(call)


def test_the_trace_of_a_large_guest_is_bounded() -> None:
    def blocks(gib: int, page_bytes: int) -> list[Block]:
        return [Block("pc.ram", page_bytes, gib << 30)]

    assert trace_entries(blocks(1, 4096)) == (1 << 18) + 65536
    assert trace_entries(blocks(64, 4096)) == 1 << 20
    assert trace_entries(blocks(64, 2 << 20)) == (64 << 9) + 65536


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("failed", "the migration failed before the switch: no reason given"),
        ("active", r"no progress for 15 s before the switch: does 192.0.2.12 answer the source\? \(source, dest"),
    ],
)
def test_a_migration_that_waits_is_not_said_to_have_failed(status: str, said: str) -> None:
    now = {"started": True, "source": status, "destination": "setup"}
    call = between(qemu("source", status), qemu("destination", "setup", "inmigrate"), **now)
    assert re.search(said, drive._not_switched(call))


@pytest.mark.parametrize(
    ("status", "quiet_s", "arrived", "patience_s"),
    [("setup", 6, False, 5), ("setup", 4, False, 15), ("setup", 6, True, 15), ("active", 6, False, 15)],
)
def test_a_source_that_cannot_connect_is_given_up_within_seconds(
    monkeypatch: pytest.MonkeyPatch, status: str, quiet_s: float, arrived: bool, patience_s: float
) -> None:
    monkeypatch.setattr(drive, "has_arrived", lambda port: arrived and port == 49152)
    call = between(qemu("source", status), qemu("destination", "setup", "inmigrate"), started=True)
    call.incoming = session.Incoming(1, 49152, "tcp:192.0.2.12:49152")
    call.quiet = SimpleNamespace(quiet_s=lambda _moved: quiet_s, value="-")
    call.now = drive.look(call, SimpleNamespace(arrived=lambda _requests: False))  # type: ignore[arg-type]
    assert call.now.patience_s == patience_s
    unanswered = "the source cannot connect to 192.0.2.12, TCP port 49152, within 5 s" in drive._not_switched(call)
    assert unanswered == (status == "setup" and not arrived)


def test_ports_that_are_all_taken_are_named() -> None:
    destination = qemu("destination", "none", "inmigrate")
    destination.answers["migrate_incoming"] = QmpError("migrate-incoming", "GenericError", "Address already in use")
    call = between(qemu("source", "none"), destination)
    with pytest.raises(QmpError):
        prepare.listen(call, "migrate-incoming")
    with pytest.raises(MigrationFailed, match=r"192\.0\.2\.12, TCP ports 49152-49215: .*in use.*migration_ports"):
        prepare.first_listener(call)


@pytest.mark.parametrize("method", [Method(), Method(prefetch_pages=10)], ids=["plain", "prefetching"])
def test_the_program_waits_for_the_connections_to_the_listener(method: Method) -> None:
    def refuse(_pid: int, _port: int) -> None:
        raise PrefetchError("the kernel refuses")

    destination = qemu("destination", "setup", "inmigrate")
    destination.answers["query_migrate"] |= {"socket-address": [{"port": "49153"}]}
    call = between(qemu("source", "none"), destination)
    call.options = replace(call.options, method=method)
    call.readings.vcpu_threads = (os.getpid(),)
    attached: list[tuple[int, int]] = []
    call.prefetch = SimpleNamespace(attach=lambda *where: attached.append(where))
    prepare.open_to_source(call)
    assert attached == [(os.getpid(), 49153)]
    assert call.incoming == session.Incoming(os.getpid(), 49153, "tcp:192.0.2.12:49153")
    call.prefetch = SimpleNamespace(attach=refuse)
    with pytest.raises(PrefetchError, match="needs eBPF") if method.prefetches else nullcontext():
        prepare.open_to_source(call)
        assert call.prefetch is None
        assert call.readings.prefetch_absent == "the kernel refuses"


@pytest.mark.parametrize(("by_the_guest", "how"), [(True, " (the guest shut down)"), (False, "")])
def test_a_guest_that_ended_before_the_switch_is_not_half_of_one(by_the_guest: bool, how: str) -> None:
    destination = qemu("destination", "setup", "inmigrate")
    call = between(Qemu("source"), destination, started=True, source=None, destination="setup")
    call.readings.events = [(0.0, SimpleNamespace(host="source", name="SHUTDOWN", data={"guest": by_the_guest}))]
    error = drive._lost(call)
    assert str(error) == f"the guest vcsp-guest ended on the source before the switch{how}"
    assert "destroy" in destination.executed


def test_a_guest_that_shuts_down_in_post_copy_is_reported_as_that() -> None:
    source = qemu("source", "postcopy-active", "finish-migrate")
    call = between(source, Qemu("destination"), started=True, switched=True, source="postcopy-active", destination=None)
    call.readings.events = [(0.0, SimpleNamespace(host="destination", name="SHUTDOWN", data={"guest": True}))]
    assert "(the guest shut down)" in str(drive._lost(call))


def test_prefetching_that_cannot_attach_again_does_not_stop_the_recovery(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any) -> None:
        raise PrefetchError("the kernel refuses")

    source, destination = qemu("source", "postcopy-paused"), qemu("destination", "postcopy-paused")
    call = between(source, destination, started=True, switching=True, switched=True)
    call.prefetch, call.incoming = SimpleNamespace(attach=refuse), session.Incoming(1, 2, "tcp:x:2")
    monkeypatch.setattr(drive, "listen", lambda *_arguments: ("tcp:x:3", 3))
    drive.recover(call)
    drive.recover(call)
    assert source.executed.count("migrate") == 2
    assert call.readings.recoveries == 2
    assert call.readings.not_measured == ["prefetching was not in force after a recovery: the kernel refuses"] * 2


@pytest.mark.parametrize("switched", [False, True])
def test_what_only_measures_stops_a_migration_before_the_switch_alone(switched: bool) -> None:
    call = between(qemu("source", "active"), qemu("destination", "active"), started=True, switched=switched)
    with nullcontext() if switched else pytest.raises(OSError), only_measuring(call, "the telemetry was lost"):
        raise OSError("refused")
    assert call.readings.not_measured == (["the telemetry was lost: refused"] if switched else [])


def test_the_guest_is_told_its_work_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "SILENCE_S", 0.0)
    call = between(qemu("source", "none"), qemu("destination", "none", "inmigrate"))
    call.options = replace(call.options, work_words=500, baseline_s=0.0)
    channel = SimpleNamespace(words=None, told=[], opened=0)

    def send(command: str) -> None:
        channel.told.append(command)
        channel.words = 500 if len(channel.told) == 2 else 7  # a late answer of someone else's

    def listen(_domain: Any) -> None:
        channel.opened += 1

    channel.send, channel.open = send, listen
    call.readings.source_channel = channel
    prepare.baseline(call)
    assert channel.told == ["work 500"] * 2
    assert channel.opened == 1
    call.readings.source_channel = None
    with pytest.raises(MigrationFailed, match="no telemetry channel"):
        prepare.baseline(call)


def test_a_listener_that_hears_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "SILENCE_S", 0.0)
    call = between(qemu("source", "none"), qemu("destination", "none", "inmigrate"))
    call.options = replace(call.options, baseline_s=1.0)
    samples: list[Any] = []
    heard = [SimpleNamespace(time_s=0.0), SimpleNamespace(time_s=2.0)]
    call.readings.source_channel = SimpleNamespace(samples=samples, open=lambda _domain: samples.extend(heard))
    prepare.baseline(call)
    assert samples == heard
