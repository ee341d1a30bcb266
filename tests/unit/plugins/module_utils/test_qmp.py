# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Connections to libvirt, with a stand-in in its place."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host import calls, domain, qmp

NO_DOMAIN, INVALID, BUSY = 42, 55, 68


class LibvirtError(Exception):
    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code

    def get_error_code(self) -> int:
        return self.code


class Connection:
    keepalive: tuple[int, int] | None = None

    def setKeepAlive(self, interval_s: int, count: int) -> None:  # noqa: N802 - libvirt's name
        self.keepalive = interval_s, count


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace libvirt with a stand-in that opens connections with the given function."""

    def use(open_it: Any) -> None:
        fake = SimpleNamespace(
            open=open_it,
            libvirtError=LibvirtError,
            VIR_ERR_NO_DOMAIN=NO_DOMAIN,
            VIR_ERR_OPERATION_INVALID=INVALID,
        )
        for module in (qmp, domain):
            monkeypatch.setattr(module, "libvirt", fake, raising=False)

    monkeypatch.setattr(qmp.EventLoop, "start", lambda: None)
    return use


def test_a_connection_has_keepalive(opens: Any) -> None:
    opens(lambda uri: Connection())
    assert qmp.connect("test:///").keepalive == (5, 6)


def test_a_refused_connection_says_why(opens: Any) -> None:
    def refuse(uri: str) -> None:
        raise LibvirtError("no such socket")

    opens(refuse)
    with pytest.raises(qmp.ConnectionFailed, match="cannot reach libvirt at test:///: no such socket"):
        qmp.connect("test:///")


def test_another_error_is_not_swallowed(opens: Any) -> None:
    def fail(uri: str) -> None:
        raise TypeError("not a URI")

    opens(fail)
    with pytest.raises(TypeError, match="not a URI"):
        qmp.connect("test:///")


def test_a_libvirtd_that_hangs_is_not_waited_for(opens: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(uri: str) -> Connection:
        released.wait(60)
        return Connection()

    opens(hang)
    monkeypatch.setitem(calls.LIMITS_S, "open_connection", 0.05)
    with pytest.raises(qmp.NoAnswer, match="test:/// did not answer; check that its libvirtd"):
        qmp.connect("test:///")
    released.set()


def test_a_client_whose_lock_hangs_is_replaced(opens: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    class Stuck(Domain):
        def isAlive(self) -> bool:  # noqa: N802
            return released.wait(60)

    connections = iter([Stuck(active=True), Domain(active=True)])
    opens(lambda _uri: next(connections))
    monkeypatch.setattr(calls, "ANSWER_S", 0.05)
    host = qmp.Host("source", "test:///")
    host.connection()
    assert host.connection().isActive()
    assert host.connects == 2
    assert host.alive, "what hangs on the old connection is not held against the new one"
    released.set()


class Domain:
    """A domain on a connection that is its own, with the answers of libvirt's."""

    def __init__(self, active: bool, error: LibvirtError | None = None, command: Any = None) -> None:
        self.active, self.error, self.command = active, error, command
        self.closed = threading.Event()

    def isAlive(self) -> bool:  # noqa: N802
        return True

    def setKeepAlive(self, _interval_s: int, _count: int) -> None:  # noqa: N802
        pass

    def lookupByName(self, _name: str) -> Domain:  # noqa: N802
        return self

    def isActive(self) -> bool:  # noqa: N802
        if self.error is not None:
            raise self.error
        return self.active

    def close(self) -> None:
        self.closed.set()


def monitor(opens: Any, monkeypatch: pytest.MonkeyPatch, guest: Domain) -> qmp.Monitor:
    opens(lambda _uri: guest)
    bindings = SimpleNamespace(qemuMonitorCommand=lambda guest, _request, _flags: guest.command())
    monkeypatch.setattr(qmp, "libvirt_qemu", bindings, raising=False)
    return qmp.Monitor(qmp.Host("source", "test:///"), "web1")


@pytest.mark.parametrize(
    ("guest", "code", "found"),
    [
        (Domain(active=True), NO_DOMAIN, qmp.GuestGone),
        (Domain(active=False), INVALID, qmp.GuestGone),
        (Domain(active=True, error=LibvirtError("gone", NO_DOMAIN)), INVALID, qmp.GuestGone),
        (Domain(active=True), INVALID, qmp.ConnectionFailed),
        (Domain(active=True, error=LibvirtError("busy", INVALID)), INVALID, qmp.ConnectionFailed),
        (Domain(active=True), BUSY, qmp.ConnectionFailed),
    ],
)
def test_an_invalid_operation_means_gone_only_if_the_guest_is(
    opens: Any, monkeypatch: pytest.MonkeyPatch, guest: Domain, code: int, found: type[Exception]
) -> None:
    def refuse() -> None:
        raise LibvirtError("it did not work", code)

    guest.command = refuse
    with pytest.raises(found):
        monitor(opens, monkeypatch, guest).execute("query-status")


def test_a_monitor_that_hangs_is_given_up_and_heard_again(opens: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    released, asked = threading.Event(), []

    def hang() -> str:
        asked.append(1)
        released.wait(60)
        return '{"return": {}}'

    monkeypatch.setattr(calls, "ANSWER_S", 0.05)
    monkeypatch.setattr(calls, "OVERDUE_S", 0.05)
    hung = monitor(opens, monkeypatch, Domain(active=True, command=hang))
    for _attempt in range(3):
        with pytest.raises(qmp.NoAnswer, match="the source's libvirt or QEMU does not answer"):
            hung.execute("query-status")
    assert asked == [1], "requests pile up at a host that hangs"
    assert hung.is_alive(), "libvirt itself answers still"
    released.set()
    monkeypatch.setattr(calls, "ANSWER_S", 60)
    monkeypatch.setattr(calls, "OVERDUE_S", 60)
    assert hung.execute("query-status") == {}


def test_a_connection_with_an_unanswered_call_is_never_closed(opens: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(calls, "ANSWER_S", 0.05)
    guest = Domain(active=True, command=lambda: released.wait(60))
    hung = monitor(opens, monkeypatch, guest)
    with pytest.raises(qmp.NoAnswer):
        hung.execute("query-status")
    hung.close()
    hung.host.close()  # would wait for the answer
    assert not guest.closed.is_set()
    released.set()
