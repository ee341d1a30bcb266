# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""QEMU's out-of-band monitor, with a stand-in that speaks QMP on a real socket."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host import oob
from ansible_collections.vcsp.testbed.plugins.module_utils._host.domain import incoming_xml, without_incoming
from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import ConnectionFailed, NoAnswer, QmpError

from .test_domain import arguments_of, guest, same

EVENT = {"event": "MIGRATION", "data": {"status": "postcopy-paused"}}


COMPLETED = {"event": "MIGRATION", "data": {"status": "completed"}}
AGREED = [{"return": {}}]


class Qemu:
    """A QEMU that answers each request with the next of its lists of messages, and closes the monitor after the last.

    :ivar place: where it listens; only one client can be connected.
    :ivar heard: the requests, without their ids.
    """

    def __init__(self, place: Path, *answers: list[dict[str, Any]]) -> None:
        self.place = place
        self.heard: list[dict[str, Any]] = []
        self.end = threading.Event()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(os.fspath(place))
        self._server.listen(0)
        self._thread = threading.Thread(target=self._serve, args=(answers,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the monitor, as a QEMU that ends."""
        self.end.set()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # nobody may have come
        self._thread.join(60)
        self._server.close()

    def _serve(self, answers: tuple[list[dict[str, Any]], ...]) -> None:
        with suppress(OSError), self._server.accept()[0] as client:
            client.sendall(b'{"QMP": {"capabilities": ["oob"]}}\r\n')
            decoder, text = json.JSONDecoder(), ""
            for messages in answers:
                while True:
                    try:
                        request, end = decoder.raw_decode(text)
                        break
                    except ValueError:
                        text += client.recv(4096).decode()
                text = text[end:]
                number = request.pop("id")
                self.heard.append(request)
                for message in messages:
                    reply = message if "event" in message else {"id": number, **message}
                    client.sendall(json.dumps(reply).encode() + b"\r\n")
            self.end.wait()


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Callable[..., Qemu]]:
    """Start a QEMU with these answers."""
    started = []

    def serve(*answers: list[dict[str, Any]]) -> Qemu:
        place = oob.place("uuid", tmp_path)
        oob.make_place(place, "<capabilities/>")
        started.append(Qemu(place, *answers))
        return started[-1]

    yield serve
    for qemu in started:
        qemu.close()
    wait_until(lambda: not any(holders(qemu.place) for qemu in started))


def holders(place: Path) -> list[int]:
    """Processes that hold the monitor of this place."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (directory / "comm").read_text() == "vcsp-monitor\n" and (
                os.fspath(place.parent).encode() in (directory / "cmdline").read_bytes()
            ):
                found.append(int(directory.name))
    return found


def wait_until(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_command_passes_out_of_band_and_events_are_skipped(listen: Any) -> None:
    qemu = listen(AGREED, [EVENT, {"return": 7}])
    with closing(oob.connect(qemu.place)) as monitor:
        assert monitor.execute("migrate-recover", uri="tcp:192.0.2.1:1") == 7
    assert qemu.heard == [
        {"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}},
        {"exec-oob": "migrate-recover", "arguments": {"uri": "tcp:192.0.2.1:1"}},
    ]


def test_a_later_call_uses_the_connection_that_a_killed_one_made(listen: Any) -> None:
    qemu = listen(AGREED, [{"return": "answered in time"}], [{"return": 2}])
    first = oob.connect(qemu.place)
    first._socket.sendall(b'{"exec-oob": "migrate-pause", "id": 1}')
    first.close()  # as the kernel does, before the answer was read
    with closing(oob.connect(qemu.place)) as second:
        assert second.execute("migrate-recover") == 2
    assert [request.get("exec-oob") for request in qemu.heard] == [None, "migrate-pause", "migrate-recover"]
    assert len(holders(qemu.place)) == 1


def test_the_monitor_is_let_go_when_qemu_ends(listen: Any) -> None:
    qemu = listen(AGREED)
    monitor = oob.connect(qemu.place)
    qemu.close()
    wait_until(lambda: not holders(qemu.place))
    with pytest.raises(ConnectionFailed):
        monitor.execute("migrate-pause")
    monitor.close()
    assert not qemu.place.parent.exists()


def test_the_monitor_is_let_go_once_the_guest_is_home_and_nobody_uses_it(listen: Any) -> None:
    qemu = listen(AGREED, [EVENT, {"return": 1}, COMPLETED], [{"return": 2}])
    with closing(oob.connect(qemu.place)) as monitor:
        assert monitor.execute("migrate-recover") == 1
        assert monitor.execute("query-yank") == 2
    wait_until(lambda: not holders(qemu.place))
    assert not qemu.place.parent.exists()


def test_a_directory_that_a_later_call_made_is_left_alone(listen: Any) -> None:
    qemu = listen(AGREED)
    oob.connect(qemu.place).close()
    oob.make_place(qemu.place, "<capabilities/>")
    qemu.place.touch()
    qemu.close()
    wait_until(lambda: not holders(qemu.place))
    assert qemu.place.exists()


def test_a_holder_that_is_gone_is_replaced(listen: Any) -> None:
    qemu = listen()
    gone = socket.socket(socket.AF_UNIX)
    gone.bind(os.fspath(qemu.place.with_name("held")))
    gone.close()
    qemu.close()
    again = listen(AGREED, [{"return": 3}])
    with closing(oob.connect(again.place)) as monitor:
        assert monitor.execute("query-yank") == 3


def test_a_refused_command_is_an_error_of_qemu(listen: Any) -> None:
    qemu = listen(AGREED, [{"error": {"class": "GenericError", "desc": "not paused"}}])
    with closing(oob.connect(qemu.place)) as monitor, pytest.raises(QmpError, match="not paused"):
        monitor.execute("migrate-recover")


def test_a_qemu_without_out_of_band_commands_is_not_used(listen: Any) -> None:
    qemu = listen([{"error": {"class": "GenericError", "desc": "no oob"}}])
    with pytest.raises(ConnectionFailed, match="no oob"):
        oob.connect(qemu.place)


def test_a_qemu_that_is_stopped_does_not_answer(listen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu = listen(AGREED, [])
    with closing(oob.connect(qemu.place)) as monitor:
        monkeypatch.setattr(oob, "ANSWER_S", 0.05)
        monitor._socket.settimeout(0.05)
        with pytest.raises(NoAnswer):
            monitor.execute("migrate-pause")


def test_a_qemu_that_is_not_there_is_a_lost_connection(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="cannot be used"):
        oob.connect(tmp_path / "nowhere")


CAPABILITIES = """<capabilities><host>
  <secmodel><model>apparmor</model><doi>0</doi></secmodel>
  <secmodel><model>dac</model><doi>0</doi><baselabel type="kvm">+{0}:+{1}</baselabel></secmodel>
</host></capabilities>"""


def test_only_qemus_user_can_enter_the_place(tmp_path: Path) -> None:
    place = oob.place("uuid", tmp_path)
    for _again in range(2):  # a killed call leaves it behind
        oob.make_place(place, CAPABILITIES.format(os.getuid(), os.getgid()))
        place.touch()
    found = place.parent.stat()
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o700, os.getuid(), os.getgid())
    oob.remove_place(place)
    assert list(tmp_path.iterdir()) == []
    oob.remove_place(place)


@pytest.mark.parametrize("text", ["<capabilities/>", CAPABILITIES.format("qemu", "kvm")])
def test_an_unknown_user_of_qemus_is_ours(text: str, tmp_path: Path) -> None:
    place = oob.place("uuid", tmp_path)
    oob.make_place(place, text)
    assert place.parent.stat().st_uid == os.getuid()


def test_the_next_migration_drops_the_monitor(tmp_path: Path) -> None:
    waiting = incoming_xml(guest("-device", "pvpanic"), *oob.arguments(tmp_path / "monitor"))
    assert arguments_of(waiting)[:4] == ["-device", "pvpanic", "-incoming", "defer"]
    assert same(without_incoming(waiting), guest("-device", "pvpanic"))
