# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""QMP through libvirt's monitor passthrough, so that libvirt keeps managing the guest's lifecycle, cgroups and XML.

QEMU: docs/interop/qmp-spec.rst. libvirt: libvirt-qemu.h (virDomainQemuMonitorCommand, ...EventRegister).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from .._libvirt import libvirt, libvirt_qemu
from . import domain as domains
from .calls import Calls, Limited, Unanswered, keep


class QmpError(Exception):
    """QEMU answered a command with an error.

    :param text: QEMU's description of it.

    :ivar command: name of the QMP command.
    :ivar kind: QMP error class, e.g. ``GenericError``.
    """

    def __init__(self, command: str, kind: str, text: str) -> None:
        super().__init__(f"QMP '{command}': {text}")
        self.command, self.kind = command, kind


class ConnectionFailed(Exception):
    """libvirt cannot be reached, or cannot answer now."""


class NoAnswer(ConnectionFailed):
    """libvirt or the guest's QEMU hangs. What was asked for may still happen."""


class GuestGone(Exception):
    """A host has no such guest, or its QEMU has ended."""


@dataclass(frozen=True)
class Event:
    """A QMP event.

    :ivar host: ``source`` or ``destination``.
    :ivar realtime_s: real-time clock of that host, in seconds since the epoch.
    """

    host: str
    name: str
    data: dict[str, Any]
    realtime_s: float


class EventLoop:
    """libvirt's event loop in its own thread, started once per process and before any connection."""

    _running = False

    @classmethod
    def start(cls) -> None:
        if cls._running:
            return
        libvirt.virEventRegisterDefaultImpl()
        libvirt.registerErrorHandler(lambda _context, _error: None, None)  # errors are raised, not printed

        def run() -> None:
            while True:
                libvirt.virEventRunDefaultImpl()

        threading.Thread(target=run, name="libvirt-events", daemon=True).start()
        cls._running = True


def connect(uri: str) -> Any:
    """Open a libvirt connection with keepalive, so that its loss is noticed.

    :raises ConnectionFailed: libvirt refused, or did not answer in time.
    """
    return _connect(uri, Calls())


def _connect(uri: str, calls: Calls) -> Any:
    EventLoop.start()

    def open_connection() -> Any:
        connection = libvirt.open(uri)
        connection.setKeepAlive(5, 6)
        return connection

    try:
        return calls.make("open_connection", open_connection)
    except Unanswered:
        raise NoAnswer(f"libvirt at {uri} did not answer; check that its libvirtd is running and responds") from None
    except libvirt.libvirtError as error:
        raise ConnectionFailed(f"cannot reach libvirt at {uri}: {error}") from error


class Host:
    """One of the two hosts, with a libvirt connection that is reopened when lost.

    :param role: ``source`` or ``destination``.
    :ivar connects: number of connections so far; events between two of them are lost.
    """

    def __init__(self, role: str, uri: str) -> None:
        self.role, self.uri = role, uri
        self.connects = 0
        self._connection: Limited | None = None
        self._opening, self._calls = Calls(), Calls()

    def connection(self) -> Any:
        """A libvirt connection that was alive a moment ago; each of its calls can raise ``NoAnswer``.

        :raises ConnectionFailed: libvirt cannot be reached.
        """
        if not self.alive:
            self.close()
            self._connection = Limited(_connect(self.uri, self._opening), self.call)
            self._calls = Calls()  # what hangs on the connection before does not hang on this one
            self.connects += 1
        return self._connection

    def call(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Make a call to libvirt that can be abandoned.

        :raises NoAnswer: it did not return in time.
        """
        try:
            return self._calls.make(name, function, *arguments)
        except Unanswered as error:
            raise NoAnswer(f"the {self.role}'s libvirt or QEMU does not answer: {error}") from error

    @property
    def alive(self) -> bool:
        """Whether the connection is there, and libvirt's own client does not hang."""
        try:
            # It sends nothing, but can wait for a lock of libvirt's.
            return self._connection is not None and bool(self._connection.isAlive())
        except (libvirt.libvirtError, NoAnswer):
            return False

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        keep(connection.raw)
        if not self._calls.waiting:
            with suppress(libvirt.libvirtError, NoAnswer):  # already lost
                connection.close()


class Monitor:
    """The QMP monitor of one guest on one host. It survives restarts of libvirtd, as QEMU does.

    :param name: the guest's domain.
    """

    def __init__(self, host: Host, name: str) -> None:
        self.host, self.name = host, name
        self._domain: Any = None
        self._connection: Any = None
        self._callback: Callable[[Event], None] | None = None
        self._registration: tuple[Any, int] | None = None
        self._followers: list[Callable[[Any], None]] = []

    @property
    def role(self) -> str:
        """``source`` or ``destination``."""
        return self.host.role

    @property
    def domain(self) -> Any:
        """The guest's libvirt domain on the current connection.

        :raises GuestGone: there is no such guest.
        :raises ConnectionFailed: libvirt cannot be reached.
        """
        if self.host.connection() is not self._connection:
            self.look_up()
        return self._domain

    def look_up(self) -> None:
        """Look the guest up again on the current connection.

        :raises GuestGone: there is no such guest.
        :raises ConnectionFailed: libvirt cannot be reached.
        """
        connection = self.host.connection()
        with self.translated():
            domain = Limited(connection.lookupByName(self.name), self.host.call)
            self._domain, self._connection = domain, connection
            self._register()
            for follow in self._followers:
                follow(domain)

    def follow(self, attach: Callable[[Any], None]) -> None:
        """Call ``attach`` with the domain now, and again after every reconnect."""
        attach(self.domain)
        self._followers.append(attach)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Distinguish libvirt's errors: is the guest gone, or only the connection?

        :raises GuestGone: QEMU has ended.
        :raises ConnectionFailed: libvirt cannot answer now.
        """
        try:
            yield
        except libvirt.libvirtError as error:
            if domains.is_gone(error, lambda: self.host.connection().lookupByName(self.name)):
                raise GuestGone(f"there is no guest {self.name} at {self.host.uri}") from error
            raise ConnectionFailed(f"libvirt at {self.host.uri} cannot answer: {error}") from error

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run a command and return its value.

        :raises QmpError: QEMU refused it.
        :raises GuestGone: the guest has ended.
        :raises ConnectionFailed: the command may or may not have run.
        """
        request: dict[str, Any] = {"execute": command}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        domain = self.domain
        with self.translated():
            text = self.host.call("command", libvirt_qemu.qemuMonitorCommand, domain.raw, json.dumps(request), 0)
        reply = json.loads(text)
        if "error" in reply:
            raise QmpError(command, reply["error"].get("class", "?"), reply["error"].get("desc", "?"))
        return reply["return"]

    def is_alive(self) -> bool:
        """Whether the guest's QEMU is running. Only libvirt is asked, which costs the guest no time.

        :raises ConnectionFailed: libvirt cannot answer now.
        """
        try:
            domain = self.domain
            with self.translated():
                return bool(domain.isActive())
        except GuestGone:
            return False

    def human(self, command: str) -> str:
        """Output of a human monitor command, for the few facts that QMP lacks."""
        return str(self.execute("human-monitor-command", command_line=command))

    def listen(self, callback: Callable[[Event], None]) -> None:
        """Call ``callback`` for every event of this guest, in the event loop's thread."""
        known = self.domain
        self._callback = callback
        if known is self.domain:  # otherwise the new lookup has already registered it
            with self.translated():
                self._register()

    def _register(self) -> None:
        callback, connection = self._callback, self._connection
        if callback is None:
            return

        def forward(
            _conn: Any, _domain: Any, name: str, seconds: int, micros: int, data: str | None, _opaque: Any
        ) -> None:
            callback(Event(self.role, name, json.loads(data) if data else {}, seconds + micros / 1e6))

        register = libvirt_qemu.qemuMonitorEventRegister
        number = self.host.call("register", register, connection.raw, self._domain.raw, None, forward, None, 0)
        self._registration = connection.raw, number

    def close(self) -> None:
        """Stop listening for events, and let go of the connection."""
        registration, self._registration, self._callback = self._registration, None, None
        self._domain = self._connection = None
        if registration is not None:
            with suppress(libvirt.libvirtError, NoAnswer):  # the connection is gone, and the registration with it
                self.host.call("deregister", libvirt_qemu.qemuMonitorEventDeregister, *registration)

    def capabilities(self) -> dict[str, bool]:
        return {item["capability"]: item["state"] for item in self.execute("query-migrate-capabilities")}

    def set_capabilities(self, **wanted: bool) -> None:
        """Set migration capabilities; underscores in their names stand for dashes.

        :raises QmpError: QEMU does not know them or cannot combine them.
        """
        listed = [{"capability": name.replace("_", "-"), "state": state} for name, state in wanted.items()]
        self.execute("migrate-set-capabilities", capabilities=listed)
