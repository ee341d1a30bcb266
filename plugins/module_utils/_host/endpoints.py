# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks of guest names, URIs and addresses before they reach libvirt or QEMU. They never reach a shell."""

from __future__ import annotations

import errno
import ipaddress
import re
import shlex
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Ports that need no privilege.
FIRST_PORT, LAST_PORT = 1024, 65535
# States of a TCP connection that is there, or about to be (proc_net_tcp.rst): established, its SYN received, closed by
# the other side.
_ARRIVED = ("01", "03", "08")

# libvirt refuses slashes, and XML cannot represent the others. Every other name is fine.
_INVALID_IN_NAME = re.compile(r"[/\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def problems(given: Mapping[str, Any], checks: Mapping[str, Callable[[str], str | None]]) -> list[str]:
    """What is wrong with the arguments of a module, each with its name; one that is not given is fine.

    :param checks: argument -> the function below that says why its value is refused.
    """
    found = {name: check(given[name]) for name, check in checks.items() if given[name] is not None}
    return [f"{name}: {problem}" for name, problem in found.items() if problem is not None]


def name_problem(name: str) -> str | None:
    """Why no libvirt domain can have this name; None if one can."""
    if not name or _INVALID_IN_NAME.search(name):
        return f"{name!r} is invalid: no guest's name may be empty or contain a slash or a control character"
    return None


def uri_problem(uri: str) -> str | None:
    """Why a libvirt URI is refused: it does not use QEMU, or it names a program for libvirt to run on this host."""
    advice = "use one such as qemu:///system or qemu+ssh://root@node1/system"
    if not re.fullmatch("[!-~]+", uri):
        return f"{uri!r} is no URI: {advice}"
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        return f"{uri!r} is no URI ({error}): {advice}"
    driver, _plus, transport = parts.scheme.partition("+")
    if driver != "qemu":
        return f"{uri} does not use libvirt's QEMU driver: {advice}"
    # libvirt accepts both separators, and parameter names in any case.
    parameters = {unquote(part.partition("=")[0]).lower() for part in re.split("[&;]", parts.query)}
    if transport == "ext" or "command" in parameters:
        return f"{uri} names a program to run on this host, which is not allowed: {advice}"
    return None


def address_problem(text: str) -> str | None:
    """Why QEMU must not listen on this address: it is not a literal, or not a unicast address on a network."""
    advice = "give this host's own on the migration network, such as 192.0.2.12 or 2001:db8::12"
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return f"{text!r} is no IP address (a literal without port and brackets): {advice}"
    if address.is_unspecified:
        return f"{text} stands for every address of this host: {advice}"
    if address.is_loopback:
        return f"{text} is a loopback address, which the source cannot reach: {advice}"
    if address.is_multicast:
        return f"{text} is a multicast address: {advice}"
    # QEMU's migration URI cannot hold a zone, and an IPv4-mapped address can be any of the above.
    if isinstance(address, ipaddress.IPv6Address) and (
        address.is_link_local or address.scope_id is not None or address.ipv4_mapped is not None
    ):
        return f"{text} is a link-local address, or an IPv4 one written as IPv6: {advice}"
    return None


def ports_problem(text: str) -> str | None:
    """Why QEMU cannot listen on one of these ports; None if it can."""
    match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", text)
    if match and FIRST_PORT <= int(match[1]) <= int(match[2]) <= LAST_PORT:
        return None
    return (
        f"{text!r} is no range of TCP ports from {FIRST_PORT} to {LAST_PORT}: give the first and the last one, such as "
        "49152-49215"
    )


def port_range(text: str) -> range:
    """The ports of a range in which there is no problem."""
    first, last = text.split("-")
    return range(int(first), int(last) + 1)


def free_listener(address: str, ports: range) -> socket.socket:
    """A socket that listens on the first port of a range that is free.

    :raises OSError: none is, or the address is not this host's.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in ports:
        try:
            return socket.create_server((address, port), family=family)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port == ports[-1]:
                raise
    raise ValueError("no ports")


def own_addresses(net: Path = Path("/proc/net")) -> list[Address]:
    """Addresses of this host in its network namespace, without loopback and link-local ones.

    bind(2) is no test: it accepts broadcast addresses and, with net.ipv4.ip_nonlocal_bind, those of other hosts.

    :param net: /proc/net, with ``fib_trie`` and, unless IPv6 is off, ``if_inet6``.
    """
    found: dict[Address, None] = {}
    leaf = ""
    for line in (net / "fib_trie").read_text().splitlines():
        mark, *words = line.split()
        if mark == "|--":
            leaf = words[0]
        elif [mark, *words] == ["/32", "host", "LOCAL"]:
            found[ipaddress.IPv4Address(leaf)] = None
    try:
        lines = (net / "if_inet6").read_text().splitlines()
    except FileNotFoundError:  # IPv6 is off
        lines = []
    found.update((ipaddress.IPv6Address(int(line.split()[0], 16)), None) for line in lines)
    return [address for address in found if not address.is_loopback and not address.is_link_local]


def has_arrived(port: int, net: Path = Path("/proc/net")) -> bool:
    """Whether a TCP connection to a port of this host has got through to it.

    :param net: /proc/net, with ``tcp`` and, unless IPv6 is off, ``tcp6``.
    """
    for table in (net / "tcp", net / "tcp6"):
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        for _number, local, _remote, state in (line.split()[:4] for line in lines):
            if state in _ARRIVED and int(local.rpartition(":")[2], 16) == port:
                return True
    return False


def virsh(uri: str, command: str, name: str, *options: str) -> str:
    """A virsh command that is safe to paste into a shell, whatever the guest's name."""
    return shlex.join(["virsh", "-c", uri, command, "--domain", name, *options])
