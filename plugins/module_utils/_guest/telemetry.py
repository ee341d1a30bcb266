# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The guest's own view: what its workload reports over virtio-serial (roles/guest_image/files/workload.c)."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .._libvirt import libvirt

CHANNEL = "vcsp.telemetry"
PAGE_BYTES = 4096
MB = 1 << 20
# The guest is not trusted: lines, numbers and sample counts beyond those of any workload are dropped.
LINE_BYTES, NUMBER_MAX, SAMPLES_MAX = 2048, 1 << 64, 100_000
# How long the end of a stream is waited for.
CLOSE_S = 3.0


@dataclass(frozen=True)
class Sample:
    """One ``sample`` line of the workload; counters are cumulative since its start.

    :ivar time_s: time of arrival, CLOCK_MONOTONIC of the listening host.
    :ivar host: ``source`` or ``destination``, where the guest ran.
    :ivar boot: the guest kernel's boot id.
    :ivar guest_time_s: CLOCK_MONOTONIC of the guest.
    :ivar pages: pages visited by all walkers.
    :ivar stalls: first accesses to a page that took longer than 50 µs (STALL_NS_MIN).
    :ivar stall_ms: time that they took.
    :ivar visits: pages visited by each walker, of which there is one per vCPU.
    """

    time_s: float
    host: str
    boot: str
    guest_time_s: float
    pages: int
    stalls: int
    stall_ms: float
    visits: tuple[int, ...]


@dataclass(frozen=True)
class Times:
    """One ``times`` line of the workload: how long visits of a page took, by the guest's clock, all walkers together.

    :ivar time_s: time of arrival, CLOCK_MONOTONIC of the listening host.
    :ivar host: ``source`` or ``destination``, where the guest ran.
    :ivar boot: the guest kernel's boot id.
    :ivar longest_ms: the longest visit since the line before.
    :ivar counts: visits since the workload's start by the power of two that their time in ns reached.
    """

    time_s: float
    host: str
    boot: str
    longest_ms: float
    counts: Mapping[int, int]


@dataclass(frozen=True)
class Verified:
    """Answer to ``verify``: pages checked, and how many of them were bad."""

    pages: int
    bad: int


@dataclass(frozen=True)
class Working:
    """Answer to ``work``: words that each visit hashes from now on."""

    words: int


Item = Sample | Times | Verified | Working | str


def parse(line: str, host: str, time_s: float) -> Item | None:
    """Parse a line of the workload.

    :returns: a Sample, a Times, a Verified, a Working, the boot id of a guest that is ready, or None for anything else.
    """
    kind, *words = line.split() or [""]
    try:
        if kind == "sample":
            boot, *numbers = words
            guest_ns, pages, stalls, stall_ns, *visits = map(_count, numbers)
            return Sample(time_s, host, boot, guest_ns / 1e9, pages, stalls, stall_ns / 1e6, tuple(visits) or (pages,))
        if kind == "times":
            boot, longest, *pairs = words
            counts = {_count(bit): _count(count) for bit, count in (pair.split(":") for pair in pairs)}
            return Times(time_s, host, boot, _count(longest) / 1e6, counts) if all(bit < 64 for bit in counts) else None
        if kind == "verified":
            return Verified(_count(words[0]), _count(words[1]))
        if kind == "working":
            return Working(_count(words[0]))
        if kind == "ready":
            return words[0]
    except (ValueError, IndexError):
        return None
    return None


def _count(word: str) -> int:
    number = int(word)
    if not 0 <= number <= NUMBER_MAX:
        raise ValueError(f"{word} is not a count")
    return number


class Channel:
    """A guest's telemetry channel through libvirt, local or remote. Lines arrive in the event loop's thread.

    :ivar words: the work that the guest says it does, in words per visit; None until it was told to change it.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.samples: list[Sample] = []
        self.times: list[Times] = []
        self.verified: list[Verified] = []
        self.words: int | None = None
        self.ready: str | None = None
        self._rest = b""
        self._lock = threading.Lock()
        self._stream: Any = None

    def open(self, domain: Any) -> None:
        """Listen to a guest, or listen again after the connection to its host was lost.

        :raises libvirt.libvirtError: the guest has no such channel, or somebody else is listening.
        """
        self._let_go()
        self._rest = b""
        self._stream = domain.connect().newStream(libvirt.VIR_STREAM_NONBLOCK)
        domain.openChannel(CHANNEL, self._stream, libvirt.VIR_DOMAIN_CHANNEL_FORCE)
        events = libvirt.VIR_STREAM_EVENT_READABLE | libvirt.VIR_STREAM_EVENT_ERROR | libvirt.VIR_STREAM_EVENT_HANGUP
        self._stream.eventAddCallback(events, self._readable, None)

    def _readable(self, stream: Any, events: int, _opaque: Any) -> None:
        if stream is not self._stream:  # being closed
            return
        now = time.monotonic()
        try:
            data = stream.recv(65536)
        except libvirt.libvirtError:
            data = b""
        if data == -2:  # would block
            return
        if not data:
            self._let_go()
            return
        with self._lock:
            *lines, rest = (self._rest + data).split(b"\n")
            self._rest = rest[: LINE_BYTES + 1]  # enough to recognise a line that is too long
            for line in lines:
                if line.strip() and len(line) <= LINE_BYTES:
                    self._take(parse(line.decode("ascii", "replace"), self.host, now))

    def _take(self, item: Item | None) -> None:
        if isinstance(item, Sample):
            # A guest's walkers never change.
            same = not self.samples or len(item.visits) == len(self.samples[0].visits)
            if same and len(self.samples) < SAMPLES_MAX:
                self.samples.append(item)
        elif isinstance(item, Times):
            if len(self.times) < SAMPLES_MAX:
                self.times.append(item)
        elif isinstance(item, Verified):
            self.verified = [item]
        elif isinstance(item, Working):
            # What came before is of other work.
            self.words, self.samples, self.times = item.words, [], []
        elif item is not None:
            self.ready = item

    def send(self, command: str) -> None:
        """Send a command line.

        It is ``start WINDOW_MB PATTERN WORDS WRITES IDLE_MB``, ``work WORDS``, ``verify`` or ``stop``.

        :raises libvirt.libvirtError: the connection is lost.
        """
        stream = self._stream
        if stream is None:
            raise libvirt.libvirtError("the guest's telemetry channel is closed")
        stream.send(command.encode() + b"\n")

    def close(self) -> None:
        """Stop listening. It waits for libvirt, but not for long.

        A guest is ended after that only: libvirt's client can hang if a stream is closed while its guest ends.
        """
        closing = self._let_go()
        if closing is not None:
            closing.join(CLOSE_S)

    def _let_go(self) -> threading.Thread | None:
        stream, self._stream = self._stream, None
        if stream is None:
            return None
        # Libvirt may take its time, for which neither the event loop nor the end of the module may wait.
        closing = threading.Thread(target=_abort, args=(stream,), name="abort", daemon=True)
        closing.start()
        return closing


def _abort(stream: Any) -> None:
    for step in (stream.eventRemoveCallback, stream.abort):
        with suppress(libvirt.libvirtError):  # the guest or the connection is already gone
            step()


def has_channel(xml: str) -> bool:
    """Whether a domain XML defines the telemetry channel."""
    from xml.etree import ElementTree

    return ElementTree.fromstring(xml).find(f"./devices/channel/target[@name='{CHANNEL}']") is not None
