# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lines of the guest's workload, well-formed and broken."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils._guest import telemetry
from ansible_collections.vcsp.testbed.plugins.module_utils._guest.telemetry import (
    LINE_BYTES,
    SAMPLES_MAX,
    Channel,
    Sample,
    Times,
    Verified,
    Working,
    has_channel,
    parse,
)

words = st.one_of(
    st.sampled_from(["sample", "times", "verified", "working", "ready", "error"]),
    st.text(),
    st.integers().map(str),
    st.just("9" * 400),
)


def test_every_kind_of_line() -> None:
    assert parse("sample 1f3e 2500000000 300 4 1500000", "source", 7.5) == Sample(
        7.5, "source", "1f3e", 2.5, 300, 4, 1.5, (300,)
    )
    assert parse("sample 1f3e 0 300 0 0 100 200", "source", 0) == Sample(0, "source", "1f3e", 0, 300, 0, 0, (100, 200))
    assert parse("times 1f3e 2500000 14:300 21:2", "source", 7.5) == Times(7.5, "source", "1f3e", 2.5, {14: 300, 21: 2})
    assert parse("verified 2048 1", "source", 0) == Verified(2048, 1)
    assert parse("working 10240", "source", 0) == Working(10240)
    assert parse("ready 1f3e", "source", 0) == "1f3e"
    assert parse("error no memory for the window", "source", 0) is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        " ",
        "sample",
        "sample 1f3e 25",
        "sample 1f3e 1 2 3 4 five",
        "sample 1f3e 1 2 three 4",
        "times",
        "times 1f3e",
        "times 1f3e 5 14",
        "times 1f3e 5 14:",
        "times 1f3e 5 14:-1",
        "times 1f3e 5 64:1",
        "times 1f3e 5 14:1:2",
        "verified",
        "verified 1",
        "working",
        "working -1",
        "ready",
        "ample 1f3e 1 2 3 4",
        "sample 1f3e 1 -2 3 4",
        "sample 1f3e 1 2 3 4 36893488147419103232",
        "verified 1 -1",
    ],
)
def test_a_malformed_line_is_none(line: str) -> None:
    assert parse(line, "source", 0) is None


@given(st.one_of(st.text(), st.lists(words, max_size=7).map(" ".join)))
def test_no_line_raises(line: str) -> None:
    assert isinstance(parse(line, "destination", 1.0), Sample | Times | Verified | Working | str | None)


@given(st.integers(0, 2**63), st.integers(0, 2**63), st.integers(0, 2**63), st.integers(0, 2**63))
def test_every_sample_is_parsed(time_ns: int, pages: int, stalls: int, stall_ns: int) -> None:
    found = parse(f"sample boot {time_ns} {pages} {stalls} {stall_ns}", "source", 1.0)
    assert isinstance(found, Sample)
    assert (found.pages, found.stalls) == (pages, stalls)


def hear(channel: Channel, piece: bytes) -> None:
    channel._stream = SimpleNamespace(recv=lambda _size: piece)
    channel._readable(channel._stream, 0, None)


def heard(*pieces: bytes) -> Channel:
    channel = Channel("source")
    for piece in pieces:
        hear(channel, piece)
    return channel


def test_lines_may_arrive_in_pieces() -> None:
    channel = heard(b"7 8\nsample a 1 2", b" 3 4\nverified", b" 5 0\nready a\nsample a 1")
    assert [sample.pages for sample in channel.samples] == [2]
    assert channel.verified == [Verified(5, 0)]
    assert channel.ready == "a"


def test_samples_of_other_work_are_forgotten() -> None:
    channel = heard(b"sample a 1 2 3 4\nsample a 2 3 3 4\nworking 500\nsample a 3 4 3 4\n")
    assert channel.words == 500
    assert [sample.pages for sample in channel.samples] == [4]


def test_an_endless_line_is_dropped_and_does_not_fill_memory() -> None:
    channel = heard(b"sample a 1 2 3 4", *[b" 5" * 30000] * 20)
    assert len(channel._rest) <= LINE_BYTES + 1
    hear(channel, b" 6\nsample a 1 7 3 4\n")
    assert [sample.pages for sample in channel.samples] == [7]


def test_a_flood_of_samples_does_not_fill_memory() -> None:
    channel = heard(*[b"sample a 1 2 3 4\nverified 1 0\n" * 1000] * (SAMPLES_MAX // 1000 + 1))
    assert len(channel.samples) == SAMPLES_MAX
    assert len(channel.verified) == 1


def test_samples_with_other_walkers_are_dropped() -> None:
    channel = heard(b"sample a 1 2 3 4 1 1\nsample a 2 3 3 4 3\nsample a 3 4 3 4 2 2\n")
    assert [sample.visits for sample in channel.samples] == [(1, 1), (2, 2)]


@given(st.lists(st.binary(max_size=3000)))
def test_no_bytes_raise(pieces: list[bytes]) -> None:
    heard(*(piece for piece in pieces if piece))


class Stream:
    """A stream whose steps are noted, and may hang."""

    def __init__(self, hangs: bool = False) -> None:
        self.steps: list[str] = []
        self.may_go_on, self.aborted = threading.Event(), threading.Event()
        if not hangs:
            self.may_go_on.set()

    def recv(self, _size: int) -> bytes:
        return b""  # the guest has ended

    def eventRemoveCallback(self) -> None:  # noqa: N802 - libvirt's name
        self.may_go_on.wait(60)
        self.steps.append("remove callback")

    def abort(self) -> None:
        self.steps.append("abort")
        self.aborted.set()


@pytest.fixture
def libvirt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "libvirt", SimpleNamespace(libvirtError=OSError))


def listening(stream: Stream) -> Channel:
    channel = Channel("source")
    channel._stream = stream
    return channel


@pytest.mark.usefixtures("libvirt")
def test_a_channel_is_closed_when_close_returns() -> None:
    stream = Stream()
    listening(stream).close()
    assert stream.steps == ["remove callback", "abort"]


@pytest.mark.usefixtures("libvirt")
def test_a_stream_that_hangs_keeps_neither_the_module_nor_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "CLOSE_S", 0.05)
    closed, ended = Stream(hangs=True), Stream(hangs=True)
    listening(closed).close()
    channel = listening(ended)
    channel._readable(ended, 0, None)
    assert channel._stream is None and (closed.steps, ended.steps) == ([], [])
    for stream in (closed, ended):
        stream.may_go_on.set()
        assert stream.aborted.wait(60)


def test_what_a_stream_says_while_it_is_being_closed_is_dropped() -> None:
    channel = Channel("source")
    channel._readable(SimpleNamespace(recv=lambda _size: b"ready a\n"), 0, None)
    assert channel.ready is None


def test_the_channel_is_found_by_its_name() -> None:
    xml = "<domain><devices><channel><target type='virtio' name='{}'/></channel></devices></domain>"
    assert has_channel(xml.format("vcsp.telemetry"))
    assert not has_channel(xml.format("org.qemu.guest_agent.0"))
    assert not has_channel("<domain/>")
