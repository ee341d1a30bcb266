# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A QMP monitor of our own on the destination, for the two commands that a QEMU whose main loop hangs still obeys.

The main loop hangs when it needs guest memory that has not arrived. ``migrate-pause`` and ``migrate-recover``, which
bring the memory, are then executed out of band (QEMU docs/interop/qmp-spec.rst), which libvirt's monitor cannot do.
The connection is made while the main loop runs, and held by a process that outlives a module that is killed.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from . import beside, monitor_holder
from .domain import OUT_OF_BAND
from .qmp import ConnectionFailed, NoAnswer, QmpError

RUN = Path("/run")
PREFIX = "vcsp-oob-"
CHARDEV = f"socket,id={OUT_OF_BAND},path="
ANSWER_S = 5.0
# While the source is in one of these, the destination is too, or can be brought there out of band.
SHARED = ("postcopy-active", "postcopy-paused", "postcopy-recover-setup", "postcopy-recover")


def arguments(socket_path: Path) -> tuple[str, ...]:
    """What makes QEMU listen on a socket of ours."""
    return (
        *("-chardev", f"{CHARDEV}{socket_path},server=on,wait=off"),
        *("-mon", f"chardev={OUT_OF_BAND},mode=control"),
    )


def place(uuid: str, run: Path | None = None) -> Path:
    """Where the socket of a guest's QEMU is, if it has one."""
    return (run or RUN) / f"{PREFIX}{uuid}" / "monitor"


def make_place(socket_path: Path, capabilities: str) -> None:
    """Make the socket's directory, which only QEMU's user can enter.

    :param capabilities: the host's, from libvirt, which name that user.
    """
    remove_place(socket_path)
    socket_path.parent.mkdir(mode=0o700)
    owner = _owner(capabilities)
    if owner is not None:
        os.chown(socket_path.parent, *owner)


def remove_place(socket_path: Path) -> None:
    """Remove the socket with its directory."""
    shutil.rmtree(socket_path.parent, ignore_errors=True)


def connect(socket_path: Path) -> OutOfBand:
    """Use the monitor of a guest's QEMU, as an earlier call left it or for the first time.

    :param socket_path: where QEMU listens.
    :raises ConnectionFailed: it does not, or it cannot be used out of band.
    """
    held = socket_path.with_name(monitor_holder.HELD)
    try:
        return OutOfBand(held)
    except ConnectionFailed:
        pass  # the first time, or the process that held it is gone
    with closing(OutOfBand(socket_path)) as monitor:
        monitor.hold()
    return OutOfBand(held)


class OutOfBand:
    """A connection to the monitor, until it is closed.

    :param socket_path: QEMU's own socket, or that of the process that holds the monitor.
    :raises ConnectionFailed: nobody listens.
    """

    def __init__(self, socket_path: Path) -> None:
        self.socket_path = socket_path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(ANSWER_S)
        self._rest = b""
        try:
            self._socket.connect(os.fspath(socket_path))
        except OSError as error:
            self._socket.close()
            raise self._lost(error) from error

    def hold(self) -> None:
        """Negotiate QEMU's own socket, and give it to the process that holds it.

        :raises ConnectionFailed: QEMU refuses or does not answer, or there is no such process.
        """
        try:
            self._read(time.monotonic() + ANSWER_S)  # the greeting
            self._ask({"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}})
            beside.start(monitor_holder, os.fspath(self.socket_path.parent), stdin=self._socket.fileno())
        except (OSError, QmpError) as error:
            raise self._lost(error) from error

    def execute(self, command: str, **arguments: Any) -> Any:
        """Execute a command out of band.

        :raises QmpError: QEMU refused it.
        :raises NoAnswer: QEMU does not even serve this monitor.
        """
        return self._ask({"exec-oob": command, "arguments": arguments})

    def check(self) -> None:
        """Find out whether more of QEMU hangs than its main loop.

        :raises NoAnswer: it does.
        """
        self.execute("query-yank")

    def close(self) -> None:
        """Let go of the monitor, for another call to use."""
        self._socket.close()

    def _ask(self, request: dict[str, Any]) -> Any:
        number = secrets.token_hex(8)  # of no earlier call either, whose answers may still come
        deadline_s = time.monotonic() + ANSWER_S
        try:
            self._socket.sendall(json.dumps({**request, "id": number}).encode())
        except OSError as error:
            raise self._lost(error) from error
        while (reply := self._read(deadline_s)).get("id") != number:
            pass  # an event, or an answer that came late
        if "error" in reply:
            command = request.get("exec-oob", "qmp_capabilities")
            raise QmpError(command, reply["error"].get("class", "?"), reply["error"].get("desc", "?"))
        return reply["return"]

    def _read(self, deadline_s: float) -> dict[str, Any]:
        while b"\n" not in self._rest:
            if time.monotonic() > deadline_s:
                raise NoAnswer("QEMU does not answer on its out-of-band monitor")
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                continue
            except OSError as error:
                raise self._lost(error) from error
            if not data:
                raise self._lost(EOFError("QEMU closed it"))
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        found: dict[str, Any] = json.loads(line)
        return found

    def _lost(self, error: Exception) -> ConnectionFailed:
        return ConnectionFailed(f"QEMU's out-of-band monitor {self.socket_path} cannot be used: {error}")


def _owner(capabilities: str) -> tuple[int, int] | None:
    """User and group of libvirt's QEMU processes; None if libvirt does not say."""
    for model in ElementTree.fromstring(capabilities).iterfind("./host/secmodel"):
        if model.findtext("model") == "dac":
            words = (model.findtext("baselabel") or "").split(":")
            if len(words) == 2 and all(word.removeprefix("+").isdigit() for word in words):
                return int(words[0]), int(words[1])
    return None
