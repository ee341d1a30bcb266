# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the network between two hosts does: measured from the one to the other, which answers (link_answers.py)."""

from __future__ import annotations

import json
import re
import socket
import statistics
import time
from dataclasses import dataclass
from typing import Any

from .._link import PAGE_BYTES, REQUEST_BYTES
from . import beside, link_answers
from .endpoints import free_listener
from .link_answers import CHUNK, REQUEST, mtu

# How long the other host answers, unless it is asked to stop.
LIFE_S = 60
# TCP tries again to connect after 1 and 3 s. A slow link takes its time to deliver what is on its way.
CONNECT_S, SILENCE_S, STREAM_ENDS_S = 5.0, 5.0, 60.0
# Exchanges that are not counted, while the connection's window opens, and how many are.
WARM_UP, EXCHANGES_MIN, EXCHANGES_MAX, EXCHANGES_S = 4, 5, 5000, 0.5
# A stream gets up to speed for as long as it is then measured.
STREAM_S = 1.0
CLOCK_READINGS = 20


class NoWay(Exception):
    """The other host cannot be reached."""


@dataclass(frozen=True)
class Found:
    """What is between two hosts.

    :ivar ping_us: round trip of a request and an answer of 16 bytes.
    :ivar page_us: the same with an answer of a page and its header.
    :ivar bulk_mbit_per_s: what a stream to the other host reaches; None if it did not get up to speed.
    :ivar mtu: of this host's route, and of the other's.
    :ivar congestion_control: TCP's here.
    :ivar address: from which this host connects.
    :ivar route: the other host's to this one, as ip-route(8) shows it; None if it is not known.
    :ivar clock_offset_s: the other host's clock minus this one's, with the bound of the error.
    """

    ping_us: float
    page_us: float
    bulk_mbit_per_s: float | None
    mtu: tuple[int, int]
    congestion_control: str
    address: str
    route: str | None
    clock_offset_s: tuple[float, float]

    @property
    def quickack(self) -> bool | None:
        """Whether the other host's route to this one acknowledges every packet at once; None if it is not known."""
        return None if self.route is None else " quickack 1" in self.route

    @property
    def quickack_command(self) -> str:
        """The command that adds such a route on the other host, for this host alone."""
        words = re.findall(r" (via|dev) (\S+)", self.route or "")
        return " ".join(["ip route add", self.address, *(" ".join(pair) for pair in words), "quickack 1"])


def answer(address: str, ports: range) -> int:
    """Let a process answer on this host; returns its port.

    :raises OSError: the address is not this host's, no port is free, or there can be no such process.
    """
    with free_listener(address, ports) as listener:
        beside.start(link_answers, str(LIFE_S), stdin=listener.fileno())
        port: int = listener.getsockname()[1]
        return port


def probe(address: str, port: int, exchanges_s: float = EXCHANGES_S, stream_s: float = STREAM_S) -> Found:
    """What is between this host and the one that answers there, which then stops.

    :raises NoWay: it cannot be reached; the message says how that showed.
    """
    try:
        with connected(address, port) as connection:
            own = connection.getsockname()[0]
            algorithm = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()
            own_mtu, there = mtu(connection), ask(connection, b"facts")
            clock = clock_offset_s(connection)
        with connected(address, port) as connection:
            ping_us = exchange_us(connection, REQUEST_BYTES, exchanges_s)
    except OSError as error:
        raise NoWay(f"{address}, TCP port {port}: {error.strerror or error}") from error
    try:
        with connected(address, port) as connection:
            page_us = exchange_us(connection, PAGE_BYTES, exchanges_s)
        with connected(address, port) as connection:
            bulk = stream_mbit_per_s(connection, stream_s)
        with connected(address, port) as connection:
            connection.sendall(REQUEST.pack(b"end", 0))
    except OSError as error:
        raise NoWay(
            f"{address}, TCP port {port}: small packets get through, but pages do not ({error.strerror or error}); "
            "give the devices of both hosts, and the switches between them, the same MTU"
        ) from error
    return Found(ping_us, page_us, bulk, (own_mtu, there["mtu"]), algorithm, own, there["route"], clock)


def connected(address: str, port: int) -> socket.socket:
    """A connection to the host that answers.

    :raises OSError: it does not.
    """
    connection = socket.create_connection((address, port), timeout=CONNECT_S)
    connection.settimeout(SILENCE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def ask(connection: socket.socket, word: bytes, number: int = 0) -> Any:
    """What the other host tells."""
    connection.sendall(REQUEST.pack(word, number))
    return told(connection)


def told(connection: socket.socket) -> Any:
    """A line of JSON from the other host, which sends no more than it is asked for."""
    line = b""
    while not line.endswith(b"\n"):
        line += some(connection, CHUNK)
    return json.loads(line)


def some(connection: socket.socket, most: int) -> bytes:
    """What has arrived.

    :raises ConnectionError: nothing, and nothing will.
    """
    data = connection.recv(most)
    if not data:
        raise ConnectionError("the connection broke off")
    return data


def clock_offset_s(connection: socket.socket) -> tuple[float, float]:
    """The other host's clock minus this one's, and the bound of the error, by the quickest of several readings."""
    readings = []
    for _ in range(CLOCK_READINGS):
        before_s = time.time()
        there_s = float(ask(connection, b"clock"))
        after_s = time.time()
        readings.append((after_s - before_s, there_s - (before_s + after_s) / 2))
    took_s, offset_s = min(readings)
    return offset_s, took_s / 2


def exchange_us(connection: socket.socket, answer_bytes: int, duration_s: float) -> float:
    """The median time from a request to its whole answer."""
    request = REQUEST.pack(b"answer", answer_bytes)
    times_s: list[float] = []
    end_s = time.perf_counter() + duration_s
    while len(times_s) < WARM_UP + EXCHANGES_MIN or (len(times_s) < EXCHANGES_MAX and time.perf_counter() < end_s):
        begin_s = time.perf_counter()
        connection.sendall(request)
        left = answer_bytes
        while left > 0:
            left -= len(some(connection, left))
        times_s.append(time.perf_counter() - begin_s)
    return statistics.median(times_s[WARM_UP:]) * 1e6


def stream_mbit_per_s(connection: socket.socket, duration_s: float) -> float | None:
    """The rate that a stream from this host reaches there; None if it did not get up to speed."""
    connection.settimeout(STREAM_ENDS_S)
    connection.sendall(REQUEST.pack(b"stream", round(duration_s * 1000)))
    chunk, end_s = bytes(CHUNK), time.monotonic() + 2 * duration_s
    while time.monotonic() < end_s:
        connection.send(chunk)
    connection.shutdown(socket.SHUT_WR)
    found: float | None = told(connection)
    return found
