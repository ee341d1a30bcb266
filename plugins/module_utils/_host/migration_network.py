# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a pair needs of the destination's network for as long as it is used, as commands that make it and take it away.

The firewall lets the source through to the migration ports (nft(8), ufw(8)), and a route of its own acknowledges the
source's packets at once (quickack, ip-route(8)). Nothing that is there is changed: what is added bears a mark.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .endpoints import port_range

# How rules of ours are recognised: their comments begin with it.
MARK = "vcsp.testbed"
# The same for routes: one of the protocol numbers that are left to administrators (rtnetlink(7)).
ROUTE_PROTOCOL = "86"
# What a route of ours takes over from the one that it is made beside, as 'ip route get' shows it.
_TAKEN_OVER = re.compile(r" (via|dev|mtu|advmss|initcwnd|initrwnd|congctl) (\S+)")

Command = list[str]


class NetworkError(Exception):
    """A command failed; the message has it and what it said."""


@dataclass(frozen=True)
class Way:
    """From the source to the destination, which is this host.

    :ivar peer: the source's address on the migration network.
    :ivar address: this host's.
    :ivar ports: the first and the last one, such as 49152-49215.
    """

    peer: str
    address: str
    ports: str

    @property
    def comment(self) -> str:
        """The mark of its rules."""
        return f"{MARK} {self.peer} {self.ports}"

    @property
    def family(self) -> str:
        return "ip6" if ":" in self.peer else "ip"


def run(command: Command) -> str:
    """Run a command and return its output.

    :raises NetworkError: it failed.
    """
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NetworkError(f"{shlex.join(command)}: {error}") from error
    if done.returncode != 0:
        raise NetworkError(f"{shlex.join(command)}: {' '.join((done.stderr or done.stdout).split())}")
    return done.stdout


def to_let_through(way: Way) -> list[Command]:
    """What the firewall lacks.

    :raises NetworkError: it cannot be looked at.
    """
    ufw = has_ufw() and "Status: active" in run(["ufw", "status"])
    ruleset = _ruleset()
    commands = [_insert(way, chain) for chain in _chains(ruleset, way, ufw)]
    if ufw and way.comment not in run(["ufw", "show", "added"]):
        ports = port_range(way.ports)
        commands.append(
            [
                *("ufw", "prepend", "allow", "proto", "tcp", "from", way.peer, "to", way.address),
                *("port", f"{ports[0]}:{ports[-1]}", "comment", way.comment),
            ]
        )
    return commands


def to_acknowledge(way: Way) -> list[Command]:
    """The route that is lacking, if any.

    :raises NetworkError: there is no way to the source at all.
    """
    if shutil.which("ip") is None:  # the host is not provisioned yet
        return []
    shown = run(["ip", "-o", "route", "get", way.peer, "from", way.address])
    if " quickack 1" in shown:
        return []
    words = [word for pair in _TAKEN_OVER.findall(shown) for word in pair]
    return [["ip", "route", "add", way.peer, *words, "src", way.address, "protocol", ROUTE_PROTOCOL, "quickack", "1"]]


def to_put_back() -> list[Command]:
    """What takes away all that was added, for whichever pair.

    :raises NetworkError: it cannot be looked for.
    """
    commands = [
        ["nft", "delete", "rule", rule["family"], rule["table"], rule["chain"], "handle", str(rule["handle"])]
        for rule in _each(_ruleset(), "rule")
        if rule.get("comment", "").startswith(f"{MARK} ")
    ]
    if has_ufw():
        commands += [_ufw_deletion(line) for line in run(["ufw", "show", "added"]).splitlines() if f"'{MARK} " in line]
    for family in ("-4", "-6") if shutil.which("ip") else ():
        if run(["ip", family, "route", "show", "proto", ROUTE_PROTOCOL]).strip():
            commands.append(["ip", family, "route", "flush", "proto", ROUTE_PROTOCOL])
    return commands


def has_ufw() -> bool:
    return shutil.which("ufw") is not None


def _ruleset() -> list[dict[str, Any]]:
    if shutil.which("nft") is None:
        return []
    try:
        found: list[dict[str, Any]] = json.loads(run(["nft", "--json", "list", "ruleset"]))["nftables"]
    except NetworkError:  # a kernel without nf_tables has no rules of it
        return []
    return found


def _each(ruleset: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [thing[kind] for thing in ruleset if kind in thing]


def _chains(ruleset: list[dict[str, Any]], way: Way, ufw: bool) -> Iterator[dict[str, Any]]:
    """Yield the chains that may drop what comes in, and lack our rule."""
    rules = _each(ruleset, "rule")
    for chain in _each(ruleset, "chain"):
        table = chain["family"], chain["table"]
        # A verdict of one table is not the last: every one that has the packet must let it through.
        if chain.get("hook") != "input" or chain["family"] not in ("inet", way.family):
            continue
        if ufw and table in (("ip", "filter"), ("ip6", "filter")):  # ufw's own, by way of iptables
            continue
        of_table = [rule for rule in rules if (rule["family"], rule["table"]) == table]
        ours = any(rule["chain"] == chain["name"] and rule.get("comment") == way.comment for rule in of_table)
        drops = chain.get("policy") == "drop" or any(_drops(rule) for rule in of_table)
        if drops and not ours:
            yield chain


def _drops(rule: dict[str, Any]) -> bool:
    """Whether one of its verdicts is to drop or reject, be it within a map."""
    text = json.dumps(rule["expr"])
    return '"drop"' in text or '"reject"' in text


def _insert(way: Way, chain: dict[str, Any]) -> Command:
    return [
        *("nft", "insert", "rule", chain["family"], chain["table"], chain["name"]),
        *(way.family, "saddr", way.peer, way.family, "daddr", way.address, "tcp", "dport", way.ports),
        *("counter", "accept", "comment", f'"{way.comment}"'),
    ]


def _ufw_deletion(line: str) -> Command:
    """Delete the rule of a line of 'ufw show added': ``ufw allow ... comment '...'``."""
    words = shlex.split(line)
    return ["ufw", "--force", "delete", *words[1 : words.index("comment")]]
