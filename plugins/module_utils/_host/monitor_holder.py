# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A process that holds QEMU's out-of-band monitor, so that it outlives a module that is killed.

QEMU negotiates a new connection in its main loop. Once that hangs, only a connection that was made before obeys; the
next call finds it here. Messages pass unchanged, one client at a time; events, which no client waits for, are dropped.
The process ends with QEMU or, once the guest is whole on this host, with its client.

This file is the process's whole program (beside.py).
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

NAME = "vcsp-monitor"  # as ps shows it; the kernel allows 15 characters
HELD = "held"  # the socket that clients use, beside QEMU's own


def main() -> None:
    """Hold the monitor that is standard input; its directory is the argument."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):  # only the name that ps shows
        Path("/proc/self/comm").write_text(NAME)
    os.chdir(sys.argv[1])  # the directory itself, also when a later call has made another of this name
    with socket.socket(socket.AF_UNIX) as listener:
        with suppress(FileNotFoundError):
            os.unlink(HELD)
        listener.bind(HELD)
        listener.listen()
        os.write(1, b"ready\n")
        with suppress(OSError):
            relay(socket.socket(fileno=0), listener)
    for name in os.listdir():
        with suppress(OSError):
            os.unlink(name)
    with suppress(OSError):  # not empty: it is not this one
        os.rmdir(sys.argv[1])


def relay(qemu: socket.socket, listener: socket.socket) -> None:
    """Pass messages until QEMU closes its monitor, or the migration is complete and no client is left.

    :raises OSError: QEMU is gone.
    """
    client: socket.socket | None = None
    rest, complete = b"", False
    while client is not None or not complete:
        readable = select.select([qemu, client or listener], [], [])[0]
        if qemu in readable:
            data = qemu.recv(65536)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "event" not in message:
                    with suppress(OSError, AttributeError):  # the client that asked is gone
                        client.sendall(line + b"\n")  # type: ignore[union-attr]
                elif message["event"] == "MIGRATION" and message["data"]["status"] == "completed":
                    complete = True
        elif client is None:
            client, _address = listener.accept()
        else:
            data = b""
            with suppress(ConnectionError):
                data = client.recv(65536)
            if data:
                qemu.sendall(data)
            else:
                client.close()
                client = None


if __name__ == "__main__":
    main()
