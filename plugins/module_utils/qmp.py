# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""QMP through libvirt's monitor passthrough, so that libvirt keeps lifecycle, cgroups and XML of the guest.

QEMU: docs/interop/qmp-spec.rst. libvirt: libvirt-qemu.h (virDomainQemuMonitorCommand, ...EventRegister).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

try:
    import libvirt
    import libvirt_qemu

    LIBVIRT_IMPORT_ERROR: ImportError | None = None
except ImportError as _error:
    LIBVIRT_IMPORT_ERROR = _error


class QmpError(Exception):
    """QEMU answered a command with an error.

    :ivar command: name of the QMP command.
    :ivar kind: QMP error class, e.g. ``GenericError``.
    """

    def __init__(self, command: str, kind: str, text: str) -> None:
        super().__init__(f"QMP '{command}': {text}")
        self.command, self.kind = command, kind


class ConnectionFailed(Exception):
    """libvirt cannot be reached at a URI."""


@dataclass(frozen=True)
class Event:
    """A QMP event. ``realtime_s`` is the clock of the host that sent it, in seconds since the epoch."""

    host: str
    name: str
    data: dict[str, Any]
    realtime_s: float


class EventLoop:
    """libvirt's event loop in a thread of its own. It can be registered once a process and must precede connections."""

    _running = False

    @classmethod
    def start(cls) -> None:
        if cls._running:
            return
        libvirt.virEventRegisterDefaultImpl()
        libvirt.registerErrorHandler(lambda _context, _error: None, None)  # errors are exceptions, not lines on stderr

        def run() -> None:
            while True:
                libvirt.virEventRunDefaultImpl()

        threading.Thread(target=run, name="libvirt-events", daemon=True).start()
        cls._running = True


def connect(uri: str) -> Any:
    """Open a libvirt connection whose loss is noticed.

    :raise ConnectionFailed: with the URI and libvirt's reason.
    """
    EventLoop.start()
    try:
        connection = libvirt.open(uri)
        connection.setKeepAlive(5, 6)
    except libvirt.libvirtError as error:
        raise ConnectionFailed(f"cannot reach libvirt at {uri}: {error}") from error
    return connection


class Monitor:
    """The QMP monitor of one running guest."""

    def __init__(self, domain: Any, host: str) -> None:
        self.domain, self.host = domain, host
        self._callbacks: list[int] = []

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run a command and return its value.

        :raise QmpError: QEMU refused it.
        :raise libvirt.libvirtError: the guest or the connection is gone.
        """
        request: dict[str, Any] = {"execute": command}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        reply = json.loads(libvirt_qemu.qemuMonitorCommand(self.domain, json.dumps(request), 0))
        if "error" in reply:
            raise QmpError(command, reply["error"].get("class", "?"), reply["error"].get("desc", "?"))
        return reply["return"]

    def human(self, command: str) -> str:
        """Answer of the human monitor, for the few facts that QMP lacks."""
        text: str = self.execute("human-monitor-command", command_line=command)
        return text

    def listen(self, callback: Callable[[Event], None]) -> None:
        """Call back for every event of this guest, in the event loop's thread."""

        def forward(
            _conn: Any, _domain: Any, name: str, seconds: int, micros: int, data: str | None, _opaque: Any
        ) -> None:
            callback(Event(self.host, name, json.loads(data) if data else {}, seconds + micros / 1e6))

        self._callbacks.append(
            libvirt_qemu.qemuMonitorEventRegister(self.domain.connect(), self.domain, None, forward, None, 0)
        )

    def close(self) -> None:
        for callback in self._callbacks:
            try:
                libvirt_qemu.qemuMonitorEventDeregister(self.domain.connect(), callback)
            except libvirt.libvirtError:  # the connection is gone, and the registration with it
                pass
        self._callbacks.clear()

    def capabilities(self) -> dict[str, bool]:
        return {item["capability"]: item["state"] for item in self.execute("query-migrate-capabilities")}

    def set_capabilities(self, **wanted: bool) -> None:
        """Set migration capabilities; names with underscores for dashes.

        :raise QmpError: QEMU does not know or cannot combine them.
        """
        listed = [{"capability": name.replace("_", "-"), "state": state} for name, state in wanted.items()]
        self.execute("migrate-set-capabilities", capabilities=listed)
