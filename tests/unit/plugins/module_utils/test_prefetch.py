# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the prefetch program does to messages on a socket.

The two ends of a TCP connection play QEMU: the destination sends requests and the source reads them.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils._destination.policies import Policy, policy
from ansible_collections.vcsp.testbed.plugins.module_utils._destination.prefetch import (
    Block,
    Prefetch,
    PrefetchError,
    Request,
    cgroup_of,
    load_libbpf,
)

ROLE = Path(__file__).resolve().parents[4] / "roles" / "hypervisor"

CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21
RAM, HUGE, VGA = (
    Block("pc.ram", 4096, 300 * 4096),
    Block("ram-node1", 2 << 20, 41 << 20),
    Block("vga.vram", 4096, 1 << 20),
)
GUEST = (RAM, HUGE)  # HUGE ends with half a page


def obstacle() -> str | None:
    """Why the program cannot be tested here; None if it can."""
    held = int(re.findall(r"^CapEff:\s+(\w+)$", Path("/proc/self/status").read_text(), re.MULTILINE)[0], 16)
    if not (held >> CAP_SYS_ADMIN & held >> CAP_NET_ADMIN & 1):
        return "only root may load eBPF programs"
    if shutil.which("clang") is None or not Path("/usr/include/bpf/bpf_helpers.h").exists():
        return "clang or libbpf-dev is not installed"
    try:
        load_libbpf()
        cgroup_of(os.getpid())
    except PrefetchError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, compiled as the role does it."""
    reason = obstacle()
    if reason is not None:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("prefetch")
    compiler = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["_hypervisor_compiler"]
    compiled = directory / "prefetch.bpf.o"
    subprocess.run([*compiler, ROLE / "files" / "prefetch.bpf.c", "-o", compiled], check=True)
    return compiled


class Wire:
    """A listening destination and, once connected, both ends of a migration."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.listener = self.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.port: int = self.listener.getsockname()[1]

    def connect(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as source:
            self.source = self.stack.enter_context(source.makefile("rb"))
        self.destination = self.stack.enter_context(self.listener.accept()[0])

    def carry(self, *pieces: bytes) -> bytes:
        """Send the pieces from the destination; returns what the source reads."""
        for piece in pieces:
            self.destination.sendall(piece)
        return self.source.read(sum(len(piece) for piece in pieces))


@contextmanager
def wired() -> Iterator[Wire]:
    wire = Wire()
    with wire.stack:
        yield wire


@pytest.fixture
def wire() -> Iterator[Wire]:
    with wired() as wire:
        yield wire


@contextmanager
def prefetching(
    program: Path, wire: Wire, how: Policy, blocks: Sequence[Block] = GUEST, entries: int = 500
) -> Iterator[Prefetch]:
    with Prefetch(program, blocks, how, entries) as loaded:
        loaded.attach(os.getpid(), wire.port)
        wire.connect()
        yield loaded


def ask_in(name: str, start: int, asked: int) -> bytes:
    """REQ_PAGES_ID."""
    return struct.pack(">HHQIB", 3, 13 + len(name), start, asked, len(name)) + name.encode()


def ask(start: int, asked: int) -> bytes:
    """REQ_PAGES: in the same RAMBlock as before."""
    return struct.pack(">HHQI", 4, 12, start, asked)


def pages_of(message: bytes, block: Block) -> tuple[float, float]:
    """First page of a request, and its number of pages."""
    start, length = struct.unpack(">QI", message[4:16])
    return start / block.page_bytes, length / block.page_bytes


@dataclass
class Stream:
    block: str = ""
    page: int = 0
    pages: int = 0
    used: int = 0


@dataclass
class Model:
    """A second implementation of the policies, in whole pages."""

    how: Policy
    blocks: Sequence[Block]
    streams: list[Stream] = field(default_factory=lambda: [Stream() for _ in range(8)])
    clock: int = 0

    def sent(self, name: str, start: int, asked: int) -> tuple[int, int]:
        """Start and length in bytes that a request should have after the program."""
        block = next((block for block in self.blocks if block.name == name), None)
        if block is None or asked != block.page_bytes or start % asked or start // asked >= block.used_bytes // asked:
            return start, asked
        page = start // asked
        pages = self.window(name, page)
        first, end = page - self.how.before_pages, page - self.how.before_pages + pages
        first, end = max(first, 0), min(end, block.used_bytes // asked)
        return first * asked, (end - first) * asked

    def window(self, name: str, page: int) -> int:
        self.clock += 1
        pages = self.how.pages
        for stream in self.streams:
            if stream.block == name and stream.page < page <= stream.page + 2 * stream.pages:
                pages = min(stream.pages * self.how.growth, self.how.max_pages)
                break
        else:
            stream = min(self.streams, key=lambda one: one.used)
        stream.block, stream.page, stream.pages, stream.used = name, page, pages, self.clock
        return pages


@dataclass(frozen=True)
class Step:
    """One of ten guest threads moves on and misses a page: a few pages further, or somewhere else."""

    thread: int
    ahead: int | None
    page: int
    odd: tuple[int, float]  # bytes off the page's start, pages requested


STEPS = st.lists(
    st.builds(
        Step,
        st.integers(0, 9),
        st.none() | st.integers(-1, 40),
        st.integers(0, 310),
        st.sampled_from([(0, 1.0)] * 8 + [(512, 1.0), (0, 2.0), (0, 0.5), (0, 0.0)]),
    ),
    max_size=200,
)
POLICIES = [
    policy("fixed", 1),
    policy("fixed", 10),
    policy("around", 7),
    policy("around", 10),
    policy("readahead", 1),
    policy("readahead", 4, 32),
]


@pytest.mark.parametrize("how", POLICIES, ids=lambda how: f"{how.name}-{how.pages}")
@given(steps=STEPS)
@settings(max_examples=25, deadline=None)
def test_requests_follow_the_policy(program: Path, how: Policy, steps: list[Step]) -> None:
    model, places, expected, before = Model(how, GUEST), [0] * 10, [], ""
    with wired() as wire, prefetching(program, wire, how) as loaded:
        for step in steps:
            block = (RAM, RAM, HUGE, VGA)[step.thread % 4]
            place = step.page if step.ahead is None else places[step.thread] + step.ahead
            places[step.thread] = place = max(0, place)
            start, asked = place * block.page_bytes + step.odd[0], int(block.page_bytes * step.odd[1])
            message = ask(start, asked) if block.name == before else ask_in(block.name, start, asked)
            before = block.name
            sent_start, sent = model.sent(block.name, start, asked)
            assert wire.carry(message) == message[:4] + struct.pack(">QI", sent_start, sent) + message[16:]
            expected.append((None if block is VGA else block.name, start, asked, sent_start, sent))
        assert loaded.requests_seen == len(steps)
        found = list(loaded.requests())
    assert [request[1:] for request in found] == expected
    times = [request.time_s for request in found]
    assert times == sorted(times)
    assert not times or time.monotonic() - 60 < times[0] <= time.monotonic()


@pytest.mark.parametrize(
    ("how", "page", "expected"),
    [
        (policy("fixed", 1), 100, (100, 1)),
        (policy("fixed", 10), 100, (100, 10)),
        (policy("fixed", 10), 299, (299, 1)),
        (policy("fixed", 10), 295, (295, 5)),
        (policy("around", 10), 100, (96, 10)),
        (policy("around", 11), 100, (95, 11)),
        (policy("around", 10), 2, (0, 8)),
        (policy("around", 10), 298, (294, 6)),
        (policy("readahead", 4), 100, (100, 4)),
    ],
)
def test_a_single_request(program: Path, wire: Wire, how: Policy, page: int, expected: tuple[int, int]) -> None:
    with prefetching(program, wire, how):
        assert pages_of(wire.carry(ask_in(RAM.name, page * 4096, 4096)), RAM) == expected


def test_a_stream_doubles_and_a_jump_starts_over(program: Path, wire: Wire) -> None:
    big = Block("pc.ram", 4096, 1 << 30)
    with prefetching(program, wire, policy("readahead", 4, 32), [big]):
        wire.carry(ask_in("vga.vram", 0, 4096))
        wire.carry(ask_in(big.name, 100 * 4096, 4096))
        walk = [
            (104, 8),
            (110, 16),
            (126, 32),
            (158, 32),
            (5000, 4),
            (190, 32),
            (5006, 8),
            (5031, 4),
            (254, 32),
            (319, 4),
        ]
        for page, pages in walk:
            assert pages_of(wire.carry(ask(page * 4096, 4096)), big) == (page, pages)


def test_a_stream_stays_in_its_block(program: Path, wire: Wire) -> None:
    other = Block("ram-node1", 4096, RAM.used_bytes)
    with prefetching(program, wire, policy("readahead", 4), [RAM, other]):
        for name, page, pages in ((RAM.name, 0, 4), (other.name, 4, 4), (other.name, 8, 8), (RAM.name, 8, 8)):
            assert pages_of(wire.carry(ask_in(name, page * 4096, 4096)), RAM) == (page, pages)


def test_the_quietest_stream_is_replaced_when_there_are_too_many(program: Path, wire: Wire) -> None:
    big = Block("pc.ram", 4096, 1 << 30)
    with prefetching(program, wire, policy("readahead", 4), [big]):
        wire.carry(ask_in(big.name, 0, 4096))
        for jump in range(1, 8):
            wire.carry(ask(jump * 1000 * 4096, 4096))
        assert pages_of(wire.carry(ask(4 * 4096, 4096)), big) == (4, 8)  # the first is still known
        wire.carry(ask(8000 * 4096, 4096))
        assert pages_of(wire.carry(ask(12 * 4096, 4096)), big) == (12, 16)  # and it was not the quietest:
        assert pages_of(wire.carry(ask(1004 * 4096, 4096)), big) == (1004, 4)  # that was the second


def test_a_length_beyond_four_bytes_is_clamped(program: Path, wire: Wire) -> None:
    giant = Block("pc.ram", 1 << 30, 64 << 30)
    with prefetching(program, wire, policy("around", 10), [giant]):
        assert pages_of(wire.carry(ask_in(giant.name, 20 << 30, 1 << 30)), giant) == (18, 3)


@pytest.mark.parametrize("name", ["pc.ra", "pc.ram2", "", "x" * 64, "x" * 65, "x" * 255])
def test_only_requests_for_known_blocks_are_extended(program: Path, wire: Wire, name: str) -> None:
    blocks = [RAM, Block("x" * 64, 4096, RAM.used_bytes)]
    with prefetching(program, wire, policy("fixed", 10), blocks) as loaded:
        wire.carry(ask_in(RAM.name, 0, 4096))
        for message in (ask_in(name, 8192, 4096), ask(8192, 4096)):
            assert pages_of(wire.carry(message), RAM) == (2, 10 if name == "x" * 64 else 1)
        assert [request.block for request in loaded.requests()] == [RAM.name, *[name if name == "x" * 64 else None] * 2]


def test_a_first_request_without_a_block_name_is_passed_on(program: Path, wire: Wire) -> None:
    with prefetching(program, wire, policy("fixed", 10)) as loaded:
        assert wire.carry(ask(0, 4096)) == ask(0, 4096)
        assert [request[1:] for request in loaded.requests()] == [(None, 0, 4096, 0, 4096)]


@pytest.mark.parametrize(
    "message",
    [
        struct.pack(">HHI", 1, 4, 0),  # MIG_RP_MSG_SHUT
        struct.pack(">HHI", 2, 4, 7),  # MIG_RP_MSG_PONG
        struct.pack(">HHB6s", 5, 7, 6, b"pc.ram"),  # MIG_RP_MSG_RECV_BITMAP
        struct.pack(">HHQI", 5, 12, 0, 4096),
        struct.pack(">HHQI", 4, 13, 0, 4096),
        bytes(range(256)) * 400,
    ],
)
def test_other_messages_pass_unchanged(program: Path, wire: Wire, message: bytes) -> None:
    with prefetching(program, wire, policy("fixed", 10)) as loaded:
        wire.carry(ask_in(RAM.name, 0, 4096))
        assert wire.carry(message) == message
        assert pages_of(wire.carry(ask(4096, 4096)), RAM) == (1, 10)
        assert loaded.requests_seen == 2


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 8, 15, 16, 17, 20, 31])
def test_a_fragmented_message_is_passed_on_and_resets_the_block(program: Path, wire: Wire, cut: int) -> None:
    message = ask_in("ram-node1-small", 4096, 4096)
    with prefetching(program, wire, policy("fixed", 10)):
        wire.carry(ask_in(RAM.name, 0, 4096))
        assert wire.carry(message[:cut], message[cut:]) == message
        assert wire.carry(ask(4096, 4096)) == ask(4096, 4096)


def test_several_messages_in_one_send_are_passed_on(program: Path, wire: Wire) -> None:
    both = ask_in(VGA.name, 0, 4096) + ask(4096, 4096)
    with prefetching(program, wire, policy("fixed", 10)):
        wire.carry(ask_in(RAM.name, 0, 4096))
        assert wire.carry(both) == both
        assert wire.carry(ask(4096, 4096)) == ask(4096, 4096)


def test_requests_are_counted_beyond_a_full_trace(program: Path, wire: Wire) -> None:
    with prefetching(program, wire, policy("fixed", 10), entries=2) as loaded:
        wire.carry(ask_in(RAM.name, 0, 4096))
        for page in range(1, 5):
            wire.carry(ask(page * 4096, 4096))
        assert loaded.requests_seen == 5
        assert [request.start for request in loaded.requests()] == [0, 4096]


def test_other_ports_are_left_alone(program: Path, wire: Wire) -> None:
    with prefetching(program, wire, policy("fixed", 10)) as loaded, wired() as other:
        other.connect()
        message = ask_in(RAM.name, 0, 4096)
        assert other.carry(message) == message
        assert (loaded.connections, loaded.requests_seen) == (1, 0)
        assert pages_of(wire.carry(message), RAM) == (0, 10)


LISTEN_ELSEWHERE = """\
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
source = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
destination, _address = listener.accept()
destination.sendall(bytes.fromhex(sys.argv[2]))
print(source.recv(100).hex())
"""


@pytest.mark.skipif(not (shutil.which("ip") and shutil.which("unshare")), reason="needs ip and unshare")
def test_other_hosts_on_this_kernel_are_left_alone(program: Path, wire: Wire) -> None:
    message = ask_in(RAM.name, 0, 4096)
    with prefetching(program, wire, policy("fixed", 10)) as loaded:
        command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        script = [sys.executable, "-c", LISTEN_ELSEWHERE, str(wire.port), message.hex()]
        done = subprocess.run([*command, *script], capture_output=True, text=True, check=True, timeout=30)
        assert done.stdout.strip() == message.hex()
        assert (loaded.connections, loaded.requests_seen) == (1, 0)


def test_the_program_is_attached_again_after_a_recovery(program: Path, wire: Wire) -> None:
    with prefetching(program, wire, policy("readahead", 4)) as loaded, wired() as anew:
        wire.carry(ask_in(RAM.name, 0, 4096))
        loaded.attach(os.getpid(), anew.port)
        anew.connect()
        assert loaded.connections == 2  # adopted once more, not twice: the old attachment is gone
        assert pages_of(anew.carry(ask_in(RAM.name, 4 * 4096, 4096)), RAM) == (4, 8)  # the stream goes on
        wire.connect()
        assert wire.carry(ask_in(RAM.name, 0, 4096)) == ask_in(RAM.name, 0, 4096)
        assert (loaded.connections, loaded.requests_seen) == (2, 2)


def eventually(condition: Callable[[], bool], timeout_s: float = 5) -> bool:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_nothing_is_left_behind(program: Path, wire: Wire) -> None:
    message = ask_in(RAM.name, 0, 4096)
    with prefetching(program, wire, policy("fixed", 10)):
        assert wire.carry(message) != message
    assert eventually(lambda: wire.carry(message) == message), "a connection keeps the program"
    wire.connect()
    assert wire.carry(message) == message


@pytest.mark.skipif(tuple(int(part) for part in platform.release().split(".")[:2]) < (6, 1), reason="needs Linux 6.1")
def test_requests_do_not_wait_for_acknowledgements(program: Path, wire: Wire) -> None:
    with prefetching(program, wire, policy("fixed", 1)):
        assert wire.destination.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_requests_are_recorded_even_if_no_block_is_extended(program: Path, wire: Wire) -> None:
    with prefetching(program, wire, policy("fixed", 10), blocks=[]) as loaded:
        message = ask_in(RAM.name, 0, 4096)
        assert wire.carry(message) == message
        request = next(loaded.requests())
        assert request == Request(request.time_s, None, 0, 4096, 0, 4096)


def test_a_block_name_that_is_too_long_is_an_error(program: Path) -> None:
    too_long = Block("x" * 65, 4096, 1 << 20)
    with pytest.raises(PrefetchError, match="is longer than 64 bytes"), Prefetch(program, [too_long], POLICIES[0], 16):
        pass


def test_a_missing_program_is_an_error_with_advice(tmp_path: Path) -> None:
    reason = obstacle()
    if reason is not None:
        pytest.skip(reason)
    with (
        pytest.raises(PrefetchError, match=r"run playbooks/provision\.yml"),
        Prefetch(tmp_path / "x", [], POLICIES[0], 16),
    ):
        pass
