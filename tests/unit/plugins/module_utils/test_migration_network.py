# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What lets migrations through, with real nftables and routes in a network namespace, and without a real ufw."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host import migration_network
from ansible_collections.vcsp.testbed.plugins.module_utils._host.migration_network import (
    MARK,
    NetworkError,
    Way,
    to_acknowledge,
    to_let_through,
    to_put_back,
)

WAY = Way("192.0.2.11", "192.0.2.12", "49152-49215")
Run = Callable[[list[str]], str]
SITE = (
    "add table inet filter; add chain inet filter input { type filter hook input priority 0; policy drop; };"
    "add rule inet filter input iif lo accept;"
    "add table ip extra; add chain ip extra in { type filter hook input priority 10; };"
    "add rule ip extra in tcp dport vmap { 22 : accept, 49160 : drop };"
    "add table ip6 other; add chain ip6 other in { type filter hook input priority 0; policy drop; };"
    "add table ip open; add chain ip open in { type filter hook input priority 20; };"
    "add rule ip open in tcp dport 22 accept"
)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs commands in the network namespace of a host with a firewall, as the functions then do."""
    if os.geteuid() != 0 or None in map(shutil.which, ("nft", "ip", "unshare")):
        pytest.skip("needs root, nft and ip")
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()  # it has its namespace
        real = migration_network.run

        def run(command: list[str]) -> str:
            return real(["nsenter", f"--net=/proc/{holder.pid}/ns/net", *command])

        monkeypatch.setattr(migration_network, "run", run)
        monkeypatch.setattr(migration_network, "has_ufw", lambda: False)
        for words in (
            "link add mig0 type veth peer name mig1",
            "addr add 192.0.2.12/24 dev mig0",
            "link set mig0 up",
            "link set mig1 up",
            "route add 198.51.100.0/24 via 192.0.2.1 congctl reno initcwnd 20",
        ):
            run(["ip", *words.split()])
        run(["nft", SITE])
        yield run
        holder.kill()


def state(run: Run) -> str:
    return run(["nft", "list", "ruleset"]) + run(["ip", "route"])


def test_what_may_drop_a_migration_lets_it_through_and_is_put_back(host: Run) -> None:
    before = state(host)
    commands = to_let_through(WAY)
    assert [command[3:6] for command in commands] == [["inet", "filter", "input"], ["ip", "extra", "in"]]
    for command in commands:
        host(command)
    shown = host(["nft", "list", "chain", "inet", "filter", "input"])
    assert f"ip saddr {WAY.peer} ip daddr {WAY.address} tcp dport {WAY.ports} counter" in shown
    assert shown.index(MARK) < shown.index('iif "lo"'), "before all that may drop it"
    assert to_let_through(WAY) == []
    for command in to_put_back():
        host(command)
    assert state(host) == before
    assert to_put_back() == []


@pytest.mark.parametrize(
    ("peer", "kept"), [("192.0.2.11", ["dev mig0"]), ("198.51.100.7", ["via 192.0.2.1", "congctl reno", "initcwnd 20"])]
)
def test_the_source_gets_a_route_of_its_own(host: Run, peer: str, kept: list[str]) -> None:
    before, way = state(host), Way(peer, WAY.address, WAY.ports)
    (command,) = to_acknowledge(way)
    host(command)
    shown = host(["ip", "route", "show", peer])
    assert all(f" {words}" in shown for words in [*kept, "quickack 1"]), shown
    assert to_acknowledge(way) == []
    for command in to_put_back():
        host(command)
    assert state(host) == before


def test_a_route_with_quickack_is_left_alone(host: Run) -> None:
    host(["ip", "route", "change", "192.0.2.0/24", "dev", "mig0", "src", WAY.address, "quickack", "1"])
    assert to_acknowledge(WAY) == []


def test_a_source_that_cannot_be_reached_is_an_error_with_what_was_said(host: Run) -> None:
    with pytest.raises(NetworkError, match=r"ip -o route get 203\.0\.113\.1 from 192\.0\.2\.12.*unreachable"):
        to_acknowledge(Way("203.0.113.1", WAY.address, WAY.ports))


def test_ufw_is_told_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    added = "Added user rules (see 'ufw status' for running firewall):\nufw allow 22/tcp\n"
    rule = "ufw allow from 192.0.2.11 to 192.0.2.12 port 49152:49215 proto tcp"
    answers = {"ufw status": "Status: active\n", "ufw show added": added}
    monkeypatch.setattr(migration_network, "run", lambda command: answers.get(" ".join(command), ""))
    monkeypatch.setattr(migration_network, "has_ufw", lambda: True)
    monkeypatch.setattr(migration_network, "_ruleset", list)
    (command,) = to_let_through(WAY)
    assert " ".join(command) == (
        "ufw prepend allow proto tcp from 192.0.2.11 to 192.0.2.12 port 49152:49215 "
        "comment vcsp.testbed 192.0.2.11 49152-49215"
    )
    assert to_put_back() == []
    answers["ufw show added"] = f"{added}{rule} comment '{WAY.comment}'\n"
    assert to_let_through(WAY) == []
    (command,) = to_put_back()
    assert " ".join(command) == rule.replace("ufw", "ufw --force delete")


def test_ufws_own_tables_are_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = {"family": "ip", "table": "filter", "name": "INPUT", "hook": "input", "policy": "drop"}
    monkeypatch.setattr(migration_network, "_ruleset", lambda: [{"chain": chain}])
    monkeypatch.setattr(migration_network, "has_ufw", lambda: True)
    monkeypatch.setattr(migration_network, "run", lambda command: "Status: active\n")
    assert [command[0] for command in to_let_through(WAY)] == ["ufw"]
    monkeypatch.setattr(migration_network, "run", lambda command: "Status: inactive\n")
    assert [command[0] for command in to_let_through(WAY)] == ["nft"]


def test_a_host_without_any_of_the_programs_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _program: None)
    assert to_let_through(WAY) == to_acknowledge(WAY) == to_put_back() == []


def test_a_kernel_without_nftables_needs_no_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str]) -> str:
        raise NetworkError("nft: Protocol not supported")

    monkeypatch.setattr(migration_network, "run", fail)
    monkeypatch.setattr(migration_network, "has_ufw", lambda: False)
    assert to_let_through(WAY) == []


def test_a_command_that_fails_says_what_it_said() -> None:
    with pytest.raises(NetworkError, match=r"^sh -c 'echo why >&2; false': why$"):
        migration_network.run(["sh", "-c", "echo why >&2; false"])
    with pytest.raises(NetworkError, match="no-such-command"):
        migration_network.run(["no-such-command"])
