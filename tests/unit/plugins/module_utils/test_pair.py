# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong between two hosts, all at once, and what to do about it."""

from __future__ import annotations

import ipaddress
import subprocess
from dataclasses import asdict, replace
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host import pair
from ansible_collections.vcsp.testbed.plugins.module_utils._host.link_probe import Found, NoWay
from ansible_collections.vcsp.testbed.plugins.module_utils._host.pair import Answers

URI, ADDRESS, PORTS = "qemu+ssh://root@node1:2222/system?keyfile=/root/key", "192.0.2.12", "49152-49215"
NODE1, NODE2 = {"hostname": "node1", "uuid": "u"}, {"hostname": "node2", "uuid": "u"}
FOUND = Found(
    ping_us=200.0,
    page_us=240.0,
    bulk_mbit_per_s=940.0,
    mtu=(1500, 1500),
    congestion_control="cubic",
    address="192.0.2.11",
    route="192.0.2.11 from 192.0.2.12 dev eth1",
    clock_offset_s=(0.002, 0.001),
)
ANSWERS = Answers({"hostname": "node2", "boot_id": "b"}, 49152, NODE1, None)


@pytest.fixture(autouse=True)
def node1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair, "this_host", lambda: {"hostname": "node1", "boot_id": "b"})
    monkeypatch.setattr(pair, "at", lambda _uri: (NODE1, None))
    monkeypatch.setattr(pair, "probe", lambda _address, _port: FOUND)


def problems(**changes: Any) -> list[str]:
    return pair.from_source(ADDRESS, PORTS, "192.0.2.11", URI, asdict(replace(ANSWERS, **changes)))[1]


def test_two_hosts_that_reach_each_other_have_no_problem() -> None:
    assert problems() == []
    assert pair.from_source(ADDRESS, PORTS, None, URI, asdict(ANSWERS)) == (FOUND, [])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"host": {"hostname": "node1", "boot_id": "b"}}, ["same host, node1"]),
        ({"source": None, "source_reason": "cannot reach libvirt at x"}, ["source's libvirt: cannot reach"]),
        ({"source": NODE2}, [URI, "leads the destination to the host node2", "source is node1", "testbed_source_uri"]),
    ],
)
def test_a_wrong_host_is_named(changes: dict[str, Any], says: list[str]) -> None:
    (problem,) = problems(**changes)
    for part in says:
        assert part in problem


def test_libvirt_that_is_not_there_yet_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair, "at", lambda _uri: (None, None))
    assert problems(source=None, source_reason="cannot reach libvirt") == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"address": "203.0.113.5"}, ["begins at 203.0.113.5", "192.0.2.11", "route"]),
        ({"mtu": (9000, 1500)}, ["MTU is 9000 on the source and 1500 on the destination"]),
        ({"clock_offset_s": (-7.5, 0.1)}, ["destination's clock is 7.5 s behind", "synchronised"]),
        ({"clock_offset_s": (7.5, 0.1)}, ["destination's clock is 7.5 s ahead"]),
    ],
)
def test_a_network_that_is_not_as_it_should_be_is_told(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], says: list[str]
) -> None:
    monkeypatch.setattr(pair, "probe", lambda _address, _port: replace(FOUND, **changes))
    (problem,) = problems()
    for part in says:
        assert part in problem


def test_all_problems_of_both_hosts_are_in_one_list(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_address: str, port: int) -> Found:
        raise NoWay(f"192.0.2.12, TCP port {port}: timed out")

    monkeypatch.setattr(pair, "probe", nothing)
    seen, (first, second, third) = pair.from_source(
        ADDRESS, PORTS, None, URI, asdict(replace(ANSWERS, source=NODE2, problems=["of the destination"]))
    )
    assert seen is None
    assert first == "of the destination"
    assert "leads the destination to" in second
    for part in ("192.0.2.12, TCP port 49152: timed out", PORTS, "firewall"):
        assert part in third


def test_a_destination_that_does_not_answer_is_not_measured() -> None:
    assert problems(port=None, problems=["no such address"]) == ["no such address"]


@pytest.mark.parametrize(("address", "port"), [("192.0.2.12", 49152), ("192.0.2.11", None)])
def test_an_address_of_another_host_is_refused(monkeypatch: pytest.MonkeyPatch, address: str, port: int | None) -> None:
    monkeypatch.setattr(pair, "own_addresses", lambda: [ipaddress.ip_address("192.0.2.12")])
    monkeypatch.setattr(pair, "answer", lambda _address, ports: ports[0])
    found = pair.from_destination(address, PORTS, URI)
    assert found.port == port
    assert [address in problem and "192.0.2.12" in problem for problem in found.problems] == ([] if port else [True])


def test_ports_that_are_all_taken_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(_address: str, _ports: range) -> int:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(pair, "own_addresses", lambda: [ipaddress.ip_address(ADDRESS)])
    monkeypatch.setattr(pair, "answer", taken)
    (problem,) = pair.from_destination(ADDRESS, PORTS, URI).problems
    assert "192.0.2.12, TCP ports 49152-49215: Address already in use" in problem


@pytest.mark.parametrize(("status", "refused"), [(255, True), (1, False), (0, False)])
def test_ssh_is_tried_as_the_uri_asks_for(monkeypatch: pytest.MonkeyPatch, status: int, refused: bool) -> None:
    commands = []

    def run(command: list[str], **_settings: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, status, "", "root@node1: Permission denied (publickey).\n")

    monkeypatch.setattr(subprocess, "run", run)
    problem = pair.ssh_problem(URI)
    assert commands == [[*pair.SSH, "-l", "root", "-p", "2222", "-i", "/root/key", "--", "node1", "true"]]
    assert ("Permission denied (publickey)." in problem if problem else False) == refused
    assert pair.ssh_problem("qemu+tls://node1/system") is None


def test_records_say_what_was_found_and_nothing_that_was_asked_for() -> None:
    link = pair.record_of(FOUND)
    assert link["rate_mbit"] is link["delay_us"] is link["queue"] is None
    assert (link["mtu"], link["quickack"], link["congestion_control"]) == (1500, False, "cubic")
    assert (link["proof"]["ping_us"], link["proof"]["bulk_mbit_per_s"]) == (200.0, 940.0)


def test_delayed_acknowledgements_are_warned_of_with_the_command_against_them() -> None:
    (warning,) = pair.warnings(FOUND)
    assert "'ip route add 192.0.2.11 dev eth1 quickack 1'" in warning
    assert pair.warnings(replace(FOUND, route=f"{FOUND.route} quickack 1")) == []
    assert pair.warnings(replace(FOUND, route=None)) == []
