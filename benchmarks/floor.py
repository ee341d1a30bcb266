# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: T201 - what it prints is its result
"""The floor of a page fault: a TCP ping-pong between the lab's hosts that looks to the network like page requests.

    floor.py destination ADDRESS ROUNDS    listens, prints its two ports, requests, prints medians in µs; both as JSON
    floor.py source ADDRESS PORT PORT      connects to both, and answers until they are closed

As in QEMU, the destination listens and sends its requests over the accepted connections. A request has 16 bytes (return
path message REQ_PAGES: be16 type, be16 length, be64 start, be32 bytes), a page of the answer has 4096 and a header of 8
(QEMU migration/migration.c, migrate_send_rp_message_req_pages; migration/ram.c, save_page_header). TCP_NODELAY is on.
The prefetch program adopts one of the two connections and lengthens nothing: the difference between them is its cost.

The rounds do nothing but system calls; a version in C was faster by no more than the scatter.
"""

from __future__ import annotations

import json
import os
import random
import socket
import statistics
import struct
import sys
import threading
import time
from pathlib import Path

from ansible_collections.vcsp.testbed.plugins.module_utils._destination.cpu_latency import bounded
from ansible_collections.vcsp.testbed.plugins.module_utils._destination.policies import policy
from ansible_collections.vcsp.testbed.plugins.module_utils._destination.prefetch import Block, Prefetch

PAGE_BYTES, HEADER_BYTES = 4096, 8
REQUEST = struct.Struct(">HHQI")
REQ_PAGES_ID, REQ_PAGES = 3, 4
BLOCK = Block("pc.ram", PAGE_BYTES, 1 << 30)
PROGRAM = Path("/var/lib/libvirt/vcsp/prefetch.bpf.o")
# What is timed: the connection, and the bytes requested. "header" shows what the size of the answer costs.
CASES = {"header": ("plain", 0), "page": ("plain", PAGE_BYTES), "program": ("program", PAGE_BYTES)}
ROUNDS_AT_ONCE = 100


def destination(address: str, rounds: int) -> None:
    """Time ``rounds`` round trips of each case, interleaved in random order."""
    listeners = {name: socket.create_server((address, 0)) for name in ("plain", "program")}
    ports = {name: listener.getsockname()[1] for name, listener in listeners.items()}
    times: dict[str, list[float]] = {case: [] for case in CASES}
    with Prefetch(PROGRAM, [BLOCK], policy("fixed", 1), trace_entries=1) as program, bounded(0):
        program.attach(os.getpid(), ports["program"])
        print(json.dumps(ports), flush=True)
        connections = {name: listener.accept()[0] for name, listener in listeners.items()}
        for connection in connections.values():
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            block = BLOCK.name.encode()
            connection.sendall(REQUEST.pack(REQ_PAGES_ID, 13 + len(block), 0, 0) + bytes([len(block)]) + block)
            connection.recv(HEADER_BYTES, socket.MSG_WAITALL)
        for _turn in range(-(-rounds // ROUNDS_AT_ONCE)):
            for case in random.sample(list(CASES), len(CASES)):
                name, wanted_bytes = CASES[case]
                times[case] += round_trips_us(connections[name], wanted_bytes)
        if program.connections != 1 or program.requests_seen < len(times["program"]):
            raise SystemExit("the prefetch program did not see the requests on its connection")
    print(json.dumps({f"{case}_us": statistics.median(found) for case, found in times.items()}))


def round_trips_us(connection: socket.socket, wanted_bytes: int) -> list[float]:
    """Request that many bytes of memory repeatedly; returns the time of each answer in µs."""
    size = HEADER_BYTES + wanted_bytes
    requests = [REQUEST.pack(REQ_PAGES, 12, number * PAGE_BYTES, wanted_bytes) for number in range(ROUNDS_AT_ONCE)]
    answer = memoryview(bytearray(size))
    found = []
    send, receive, whole, now_ns = connection.send, connection.recv_into, socket.MSG_WAITALL, time.monotonic_ns
    for request in requests:
        before_ns = now_ns()
        send(request)
        received = receive(answer, size, whole)
        found.append((now_ns() - before_ns) / 1000)
        if received != size:
            raise SystemExit("the source closed the connection")
    return found


def source(address: str, *ports: str) -> None:
    """Answer on a connection to each port until the destination closes it."""
    threads = [threading.Thread(target=answer_all, args=(address, int(port))) for port in ports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def answer_all(address: str, port: int) -> None:
    """Answer each request with as many bytes as QEMU would."""
    answers = {wanted_bytes: bytes(HEADER_BYTES + wanted_bytes) for wanted_bytes in (0, PAGE_BYTES)}
    request = memoryview(bytearray(512))
    with socket.create_connection((address, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        send, receive, fields = connection.send, connection.recv_into, REQUEST.unpack_from
        while receive(request):
            send(answers[fields(request)[3]])


if __name__ == "__main__":
    role, where, *rest = sys.argv[1:]
    if role == "destination":
        destination(where, int(rest[0]))
    else:
        source(where, *rest)
