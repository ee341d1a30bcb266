# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a destination whose main loop hangs is told out of band, and what is believed of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host import oob
from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import ConnectionFailed, NoAnswer, QmpError
from ansible_collections.vcsp.testbed.plugins.module_utils._migration import out_of_band
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.session import Session

from .test_oob import CAPABILITIES
from .two_hosts import Qemu, between

HUNG = NoAnswer("hung")


class Monitor:
    """An out-of-band monitor that records its commands."""

    def __init__(self, error: Exception | None = None) -> None:
        self.executed: list[Any] = []
        self.error = error

    def check(self) -> None:
        self.execute("check")

    def execute(self, command: str, **arguments: Any) -> None:
        self.executed.append((command, *arguments.values()))
        if self.error is not None:
            raise self.error


def hung(monitor: Monitor | None) -> Session:
    call = between(Qemu("source"), Qemu("destination", query_migrate=HUNG, migrate_pause=HUNG))
    call.oob = monitor  # type: ignore[assignment]
    call.options = replace(call.options, migration_address="127.0.0.1")
    return call


@pytest.mark.parametrize("source", ["postcopy-active", "postcopy-paused", "postcopy-recover"])
def test_a_destination_whose_main_loop_hangs_is_where_the_source_is(source: str) -> None:
    monitor = Monitor()
    assert out_of_band.destination_status(hung(monitor), source) == source
    assert monitor.executed == [("check",)]


@pytest.mark.parametrize("source", ["active", "completed", "failed", None])
def test_no_more_than_that_is_believed(source: str | None) -> None:
    with pytest.raises(NoAnswer):
        out_of_band.destination_status(hung(Monitor()), source)


@pytest.mark.parametrize("monitor", [None, Monitor(HUNG)])
def test_a_destination_that_is_stopped_does_not_answer(monitor: Monitor | None) -> None:
    with pytest.raises(NoAnswer):
        out_of_band.destination_status(hung(monitor), "postcopy-active")


def test_a_destination_is_paused_before_it_listens_again() -> None:
    monitor = Monitor()
    uri, port = out_of_band.listen_again(hung(monitor))
    assert uri == f"tcp:127.0.0.1:{port}"
    assert monitor.executed == [("migrate-pause",), ("migrate-recover", uri)]


def test_without_the_monitor_libvirt_is_used() -> None:
    said: list[str] = []
    call = between(Qemu("source"), Qemu("destination", query_migrate={}))
    call.report = said.append
    call.oob = Monitor(ConnectionFailed("lost"))  # type: ignore[assignment]
    out_of_band.pause(call)
    assert call.destination.executed == ["migrate-pause"]  # type: ignore[attr-defined]
    assert call.oob is None and "using libvirt instead: lost" in said[0]


def test_a_refusal_is_not_tried_again_through_libvirt() -> None:
    call = hung(Monitor(QmpError("migrate-pause", "GenericError", "paused")))
    with pytest.raises(QmpError):
        out_of_band.pause(call)
    assert call.destination.executed == []  # type: ignore[attr-defined]


def test_a_host_that_refuses_the_monitor_is_said_so(
    libvirt: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(out_of_band, "libvirt", SimpleNamespace(**vars(libvirt), VIR_DOMAIN_START_PAUSED=1))
    monkeypatch.setattr(oob, "RUN", tmp_path)
    started, said = [], []

    def create(xml: str, _flags: int) -> None:
        if "-chardev" in xml:
            raise libvirt.libvirtError(libvirt.VIR_ERR_INTERNAL_ERROR)
        started.append(xml)

    connection = SimpleNamespace(getCapabilities=lambda: CAPABILITIES.format("qemu", "kvm"), createXML=create)
    call = between(Qemu("source"), Qemu("destination"))
    call.destination.host = SimpleNamespace(connection=lambda: connection)
    call.report = said.append
    out_of_band.start(call, "<domain><name>web1</name></domain>")
    assert len(started) == 1 and call.oob is None
    assert "no monitor for out-of-band commands: error 1" in said[0]
    call.stack.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("now", "kept"),
    [
        ({}, False),
        ({"started": True, "switched": True, "source": "postcopy-paused", "destination": "postcopy-paused"}, True),
        ({"started": True, "switched": True, "source": "completed", "destination": "completed"}, False),
        ({"started": True, "switched": True, "source": "postcopy-paused", "destination": None}, False),
    ],
)
def test_the_socket_stays_for_as_long_as_the_guest_is_split(now: dict[str, Any], kept: bool, tmp_path: Path) -> None:
    call = between(Qemu("source"), Qemu("destination"))
    call.now = replace(call.now, **now)
    place = oob.place("uuid", tmp_path)
    oob.make_place(place, "<capabilities/>")
    out_of_band.clear(call, place)
    assert place.parent.exists() is kept
