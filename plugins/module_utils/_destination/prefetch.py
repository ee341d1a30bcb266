# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prefetching: the eBPF program that lengthens page requests on their way to the source, and its request trace.

The program is ``prefetch.bpf.c`` of the role hypervisor. It is loaded with libbpf through ctypes and lives exactly as
long as the file descriptors of this process: the sockops program by a bpf_link (bpf(2), BPF_LINK_CREATE), the sk_msg
program by the socket map that it is attached to. A killed process leaves plain post-copy behind.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import mmap
import os
import re
import socket
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .cgroups import NO_CGROUP_V2, PROC, cpu_hierarchies, path_in
from .policies import Policy

BPF_SK_MSG_VERDICT = 7
SO_NETNS_COOKIE = 71
# Layouts of the program's structs of the same names.
NAME_BYTES = 64
SETTINGS = struct.Struct("=QIIIII4x")
BLOCK = struct.Struct("=QII")
STATE = struct.Struct("=QQ16x")
REQUEST = struct.Struct("=QQIIII")
READ_AT_ONCE = 1 << 16  # requests


class PrefetchError(Exception):
    """The program cannot be loaded or attached; the message says which step failed and why."""


@dataclass(frozen=True)
class Block:
    """A RAMBlock of the guest: name, page size and used length in bytes (HMP ``info ramblock``)."""

    name: str
    page_bytes: int
    used_bytes: int


class Request(NamedTuple):  # there can be millions, and tuples are created twice as fast as frozen dataclasses
    """A page request as it crossed the wire. Offsets and lengths in bytes.

    :ivar time_s: CLOCK_MONOTONIC of the destination.
    :ivar block: name of its RAMBlock; None for one that is not extended.
    :ivar start: offset that QEMU requested.
    :ivar asked: length that QEMU requested.
    :ivar sent_start: offset after extension.
    :ivar sent: length after extension.
    """

    time_s: float
    block: str | None
    start: int
    asked: int
    sent_start: int
    sent: int


def parse_ramblocks(text: str) -> list[Block]:
    """The blocks listed by HMP's ``info ramblock`` (QEMU system/physmem.c, ram_block_format)."""
    units = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    blocks = []
    for line in text.splitlines():
        match = re.match(r"\s*(\S+)\s+(\d+)\s+(B|KiB|MiB|GiB)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)", line)
        if match:
            name, size, unit, _offset, used, _total = match.groups()
            blocks.append(Block(name, int(size) * units[unit], int(used, 16)))
    return blocks


def guest_blocks(ramblocks: Sequence[Block], backends: Collection[str]) -> list[Block]:
    """The RAMBlocks that hold the guest's memory; the others are QEMU's own (video memory, ROMs).

    :param backends: ids of the memory backends (QMP query-memdev). A backend's RAMBlock is named after its id, or after
        its path, which ends in the id (QEMU backends/hostmem.c, host_memory_backend_get_name).
    """
    return [block for block in ramblocks if block.name.rpartition("/")[2] in backends]


def cgroup_of(pid: int, proc: Path = PROC) -> Path:
    """Directory of a process's cgroup in the v2 hierarchy, to which sockops programs attach.

    :raises PrefetchError: no cgroup v2 hierarchy is mounted.
    """
    for version, point in cpu_hierarchies(proc):
        if version == 2:
            return point / (path_in(2, pid, proc) or "")
    raise PrefetchError(NO_CGROUP_V2)


def load_libbpf() -> ctypes.CDLL:
    """Load libbpf, and declare the functions used here.

    :raises PrefetchError: the library is missing.
    """
    name = ctypes.util.find_library("bpf") or "libbpf.so.1"
    try:
        lib = ctypes.CDLL(name, use_errno=True)
    except OSError as error:
        raise PrefetchError(f"libbpf cannot be loaded ({error}): install the package libbpf1") from error
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    lib.libbpf_set_print(None)  # nothing on stderr: exceptions say what failed
    for function, result, arguments in (
        ("bpf_object__open_file", pointer, [text, pointer]),
        ("bpf_object__load", number, [pointer]),
        ("bpf_object__close", None, [pointer]),
        ("bpf_object__find_map_by_name", pointer, [pointer, text]),
        ("bpf_object__find_program_by_name", pointer, [pointer, text]),
        ("bpf_map__set_max_entries", number, [pointer, ctypes.c_uint32]),
        ("bpf_map__fd", number, [pointer]),
        ("bpf_program__fd", number, [pointer]),
        ("bpf_map_update_elem", number, [number, pointer, pointer, ctypes.c_uint64]),
        ("bpf_prog_attach", number, [number, number, number, ctypes.c_uint]),
        ("bpf_program__attach_cgroup", pointer, [pointer, number]),
        ("bpf_link__destroy", number, [pointer]),
    ):
        getattr(lib, function).restype = result
        getattr(lib, function).argtypes = arguments
    return lib


class Prefetch:
    """The program, loaded within the context.

    :param program: path of the compiled ``prefetch.bpf.o``.
    :param blocks: the RAMBlocks whose requests are extended.
    :param policy: how to extend them; a policy that extends nothing only records.
    :param trace_entries: capacity of the trace in requests; further ones are counted, but not recorded.
    :raises PrefetchError: libbpf is missing or, on entry, the program cannot be loaded.
    """

    def __init__(self, program: Path, blocks: Sequence[Block], policy: Policy, trace_entries: int) -> None:
        self.program, self.blocks, self.policy, self.trace_entries = program, blocks, policy, trace_entries
        self._lib = load_libbpf()
        self._object: Any = None
        self._link: Any = None
        self._views: list[mmap.mmap] = []

    def __enter__(self) -> Prefetch:
        lib = self._lib
        if not self.program.exists():
            raise PrefetchError(f"{self.program} does not exist: run playbooks/provision.yml on this host")
        self._object = self._check(lib.bpf_object__open_file(os.fsencode(self.program), None), f"open {self.program}")
        try:
            for name, entries in ("blocks", max(1, len(self.blocks))), ("trace", self.trace_entries):
                self._status(lib.bpf_map__set_max_entries(self._map(name), entries), f"size the map {name}")
            self._status(lib.bpf_object__load(self._object), "load the program into the kernel")
            self._name_blocks()
            # Sockets inherit the program when they are added to the map.
            verdict, connections = lib.bpf_program__fd(self._program("extend")), self._descriptor("connections")
            self._status(lib.bpf_prog_attach(verdict, connections, BPF_SK_MSG_VERDICT, 0), "attach the sk_msg program")
            self._state = self._view("state", STATE.size)
            self._trace = self._view("trace", REQUEST.size * self.trace_entries)
        except BaseException:
            self.__exit__()
            raise
        return self

    def attach(self, pid: int, port: int) -> None:
        """From now on adopt each connection that process ``pid`` accepts on local ``port``, and none on other ports.

        :raises PrefetchError: the kernel refuses.
        """
        self._detach()
        with socket.socket() as probe:
            cookie = struct.unpack("=Q", probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0]
        how = self.policy
        self._write(
            "settings", bytes(4), SETTINGS.pack(cookie, port, how.before_pages, how.pages, how.growth, how.max_pages)
        )
        cgroup = os.open(cgroup_of(pid), os.O_RDONLY | os.O_DIRECTORY)
        try:
            link = self._lib.bpf_program__attach_cgroup(self._program("adopt"), cgroup)
            self._link = self._check(link, "attach the sockops program to the cgroup of QEMU")
        finally:
            os.close(cgroup)

    @property
    def connections(self) -> int:
        """Migration connections adopted so far."""
        return int(STATE.unpack_from(self._state)[1])

    @property
    def requests_seen(self) -> int:
        """Requests sent so far, recorded or not."""
        return int(STATE.unpack_from(self._state)[0])

    def requests(self) -> Iterator[Request]:
        """The trace, oldest first."""
        names = (None, *(block.name for block in self.blocks))
        end = min(self.requests_seen, self.trace_entries) * REQUEST.size
        for offset in range(0, end, READ_AT_ONCE * REQUEST.size):
            entries = self._trace[offset : min(end, offset + READ_AT_ONCE * REQUEST.size)]
            for time_ns, start, asked, sent, before, block in REQUEST.iter_unpack(entries):
                yield Request(time_ns / 1e9, names[block], start, asked, start - before, sent)

    def __exit__(self, *_exception: object) -> None:
        for view in self._views:
            view.close()
        self._views.clear()
        self._detach()
        if self._object:
            self._lib.bpf_object__close(self._object)
            self._object = None

    def _detach(self) -> None:
        if self._link:
            self._lib.bpf_link__destroy(self._link)
            self._link = None

    def _name_blocks(self) -> None:
        for number, block in enumerate(self.blocks, start=1):
            name = block.name.encode()
            if len(name) > NAME_BYTES:
                raise PrefetchError(f"the name of the RAMBlock {block.name} is longer than {NAME_BYTES} bytes")
            whole_bytes = block.used_bytes - block.used_bytes % block.page_bytes
            self._write("blocks", name.ljust(NAME_BYTES, b"\0"), BLOCK.pack(whole_bytes, block.page_bytes, number))

    def _write(self, name: str, key: bytes, value: bytes) -> None:
        self._status(self._lib.bpf_map_update_elem(self._descriptor(name), key, value, 0), f"write the map {name}")

    def _descriptor(self, name: str) -> int:
        return int(self._lib.bpf_map__fd(self._map(name)))

    def _map(self, name: str) -> Any:
        return self._check(self._lib.bpf_object__find_map_by_name(self._object, name.encode()), f"find the map {name}")

    def _program(self, name: str) -> Any:
        found = self._lib.bpf_object__find_program_by_name(self._object, name.encode())
        return self._check(found, f"find the program {name}")

    def _view(self, name: str, size: int) -> mmap.mmap:
        length = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        view = mmap.mmap(self._descriptor(name), length, prot=mmap.PROT_READ)
        self._views.append(view)
        return view

    @staticmethod
    def _check(pointer: Any, what: str) -> Any:
        if not pointer:
            raise PrefetchError(f"cannot {what}: {os.strerror(ctypes.get_errno())}")
        return pointer

    @staticmethod
    def _status(status: int, what: str) -> None:
        if status < 0:
            raise PrefetchError(f"cannot {what}: {os.strerror(-status)}")
