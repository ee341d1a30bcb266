# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks of guest names, URIs and addresses before they reach libvirt or QEMU. They never reach a shell."""

from __future__ import annotations

import ipaddress
import re
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# libvirt refuses slashes, and XML cannot represent the others. Every other name is fine.
_INVALID_IN_NAME = re.compile(r"[/\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


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


def virsh(uri: str, command: str, name: str, *options: str) -> str:
    """A virsh command that is safe to paste into a shell, whatever the guest's name."""
    return shlex.join(["virsh", "-c", uri, command, "--domain", name, *options])
