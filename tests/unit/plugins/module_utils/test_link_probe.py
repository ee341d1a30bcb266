# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is measured of the network between two hosts, here over the loopback device, by a real process that answers."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host import beside, link_probe
from ansible_collections.vcsp.testbed.plugins.module_utils._host.endpoints import has_arrived
from ansible_collections.vcsp.testbed.plugins.module_utils._host.link_probe import Found, NoWay, answer, probe

HERE, PORTS = "127.0.0.1", range(49152, 49216)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    processes = []
    start = beside.start

    def started(*arguments: object, **settings: object) -> subprocess.Popen[bytes]:
        processes.append(start(*arguments, **settings))  # type: ignore[arg-type]
        return processes[-1]

    monkeypatch.setattr(beside, "start", started)
    yield answer(HERE, PORTS)
    for process in processes:
        beside.end(process, patient=False)
        process.kill()
        process.wait()


def found(route: str | None = None) -> Found:
    return Found(200.0, 240.0, 940.0, (1500, 1500), "cubic", "192.0.2.11", route, (0.0, 0.0))


def test_the_way_to_a_host_is_measured_and_it_then_stops(port: int) -> None:
    seen = probe(HERE, port, exchanges_s=0.05, stream_s=0.1)
    assert 0 < seen.ping_us < 1e6 and 0 < seen.page_us < 1e6
    assert seen.bulk_mbit_per_s is not None and seen.bulk_mbit_per_s > 0
    lo = int(Path("/sys/class/net/lo/mtu").read_text())
    assert seen.mtu[0] == seen.mtu[1] == min(lo, 65535), "the largest packet of IPv4"
    assert seen.congestion_control in Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
    assert seen.address == HERE
    offset_s, bound_s = seen.clock_offset_s
    assert abs(offset_s) <= bound_s + 0.001
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        try:
            socket.create_connection((HERE, port), timeout=1).close()
        except ConnectionRefusedError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("it goes on answering")
    assert not has_arrived(port)


def test_a_host_that_does_not_answer_is_named_with_its_port(port: int) -> None:
    probe(HERE, port, exchanges_s=0, stream_s=0.01)
    with pytest.raises(NoWay, match=f"{HERE}, TCP port {port + 1}: Connection refused"):
        probe(HERE, port + 1)


def test_pages_that_do_not_get_through_are_told_from_small_packets(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = link_probe.exchange_us

    def lost(connection: socket.socket, answer_bytes: int, duration_s: float) -> float:
        if answer_bytes > 1500:
            raise TimeoutError("timed out")
        return exchange(connection, answer_bytes, duration_s)

    monkeypatch.setattr(link_probe, "exchange_us", lost)
    with pytest.raises(NoWay, match=r"small packets get through, but pages do not \(timed out\).*MTU"):
        probe(HERE, port, exchanges_s=0)


@pytest.mark.parametrize(
    ("route", "quickack", "command"),
    [
        ("192.0.2.11 from 192.0.2.12 dev eth1 uid 0 \\    cache ", False, "192.0.2.11 dev eth1"),
        ("192.0.2.11 from 192.0.2.12 via 192.0.2.1 dev eth1 uid 0", False, "192.0.2.11 via 192.0.2.1 dev eth1"),
        ("192.0.2.11 from 192.0.2.12 dev eth1 uid 0 \\    cache quickack 1", True, "192.0.2.11 dev eth1"),
        (None, None, "192.0.2.11"),
    ],
)
def test_whether_acknowledgements_are_delayed_is_read_from_the_route(
    route: str | None, quickack: bool | None, command: str
) -> None:
    assert found(route).quickack is quickack
    assert found(route).quickack_command == f"ip route add {command} quickack 1"
