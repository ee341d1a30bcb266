# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A process that answers another host, so that it can measure the network between the two (link_probe.py).

A request is 16 bytes: a word of 8, and a number. ``answer`` asks for that many bytes. ``stream`` announces a stream of
which what comes after that many ms counts; its answer is the rate. ``facts`` and ``clock`` ask for a line of JSON, and
``end`` ends the process, which otherwise ends by itself.

This file is the process's whole program (beside.py).
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

NAME = "vcsp-link"  # as ps shows it; the kernel allows 15 characters
REQUEST = struct.Struct("!8sQ")
LARGEST, CHUNK = 1 << 20, 256 * 1024
# How long a client may be silent.
SILENCE_S = 10.0
IP_MTU, IPV6_MTU = 14, 24  # linux/in.h, linux/in6.h


def main() -> None:
    """Answer on the listener that is standard input, for as many seconds as the argument says."""
    with suppress(OSError):  # only the name that ps shows
        Path("/proc/self/comm").write_text(NAME)
    with suppress(OSError):  # processors stay awake until this ends, as in a trial (cpu_latency.py)
        os.write(os.open("/dev/cpu_dma_latency", os.O_WRONLY), struct.pack("=i", 0))
    end_s = time.monotonic() + float(sys.argv[1])
    with socket.socket(fileno=0) as listener:
        os.write(1, b"ready\n")
        while (left_s := end_s - time.monotonic()) > 0:
            listener.settimeout(left_s)
            with suppress(OSError):
                connection, _address = listener.accept()
                with connection:
                    connection.settimeout(SILENCE_S)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    if not serve(connection):
                        return


def serve(connection: socket.socket) -> bool:
    """Answer a client until it leaves; returns whether another one may come."""
    page = bytes(LARGEST)
    while True:
        request = b""
        while len(request) < REQUEST.size:
            more = connection.recv(REQUEST.size - len(request))
            if not more:
                return True
            request += more
        word, number = REQUEST.unpack(request)
        word = word.rstrip(b"\0")
        if word == b"answer":
            connection.sendall(page[:number])
        elif word == b"stream":
            tell(connection, received_mbit_per_s(connection, number / 1000))
        elif word == b"clock":
            tell(connection, time.time())
        elif word == b"facts":
            tell(connection, {"mtu": mtu(connection), "route": route(connection)})
        else:
            return bool(word != b"end")


def tell(connection: socket.socket, what: Any) -> None:
    """Send a line of JSON."""
    connection.sendall(json.dumps(what).encode() + b"\n")


def received_mbit_per_s(connection: socket.socket, warm_up_s: float) -> float | None:
    """The rate of a stream, once it is up to speed; None if it ends before."""
    buffer = bytearray(CHUNK)
    begin_s = time.monotonic()
    from_s: float | None = None
    count, last_s = 0, begin_s
    while size := connection.recv_into(buffer):
        last_s = time.monotonic()
        if from_s is not None:
            count += size
        elif last_s - begin_s >= warm_up_s:
            from_s = last_s
    return count * 8 / 1e6 / (last_s - from_s) if from_s is not None and last_s > from_s else None


def mtu(connection: socket.socket) -> int:
    """The largest packet that the kernel sends on a connection."""
    if connection.family == socket.AF_INET6:
        return connection.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)
    return connection.getsockopt(socket.IPPROTO_IP, IP_MTU)


def route(connection: socket.socket) -> str | None:
    """The route to the client, as ip-route(8) shows it; None if that cannot be known."""
    to, own = connection.getpeername()[0], connection.getsockname()[0]
    try:
        shown = subprocess.run(["ip", "-o", "route", "get", to, "from", own], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return shown.stdout.strip() if shown.returncode == 0 else None


if __name__ == "__main__":
    main()
