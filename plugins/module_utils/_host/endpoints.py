# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What names a guest and its hosts, looked at before it reaches libvirt or QEMU. None of it ever reaches a shell."""

from __future__ import annotations

import ipaddress
import re
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# libvirt refuses a slash, and XML has no place for the others. Whatever else a name is made of, it names a guest.
_NO_NAME = re.compile(r"[/\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def name_problem(name: str) -> str | None:
    """Why no libvirt domain can have this name."""
    if not name or _NO_NAME.search(name):
        return f"{name!r} can be no guest's name: libvirt's are not empty and have no slash and no control characters"
    return None


def uri_problem(uri: str) -> str | None:
    """Why a libvirt URI is refused: it is not QEMU's, or it names a program that libvirt would run on this host."""
    advice = "use one such as qemu:///system or qemu+ssh://root@node1/system"
    if not re.fullmatch("[!-~]+", uri):
        return f"{uri!r} is no URI: {advice}"
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        return f"{uri!r} is no URI ({error}): {advice}"
    driver, _plus, transport = parts.scheme.partition("+")
    if driver != "qemu":
        return f"{uri} is not of libvirt's QEMU driver: {advice}"
    # libvirt takes both separators, and the parameters' names in any case.
    parameters = {unquote(part.partition("=")[0]).lower() for part in re.split("[&;]", parts.query)}
    if transport == "ext" or "command" in parameters:
        return f"{uri} names a program to be run on this host, which is refused: {advice}"
    return None


def address_problem(text: str) -> str | None:
    """Why QEMU shall not listen on this address: it is no literal one, or not a certain one of a network."""
    advice = "give the one that this host has on the migration network, such as 192.0.2.12 or 2001:db8::12"
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return f"{text!r} is no IP address without name, port and brackets: {advice}"
    if address.is_unspecified:
        return f"{text} is every address of this host: {advice}"
    if address.is_loopback:
        return f"{text} is an address that the source cannot reach: {advice}"
    if address.is_multicast:
        return f"{text} is an address of a group of hosts: {advice}"
    # QEMU's migration URI has no place for a zone, and an IPv4 address in disguise can be any of the above.
    if isinstance(address, ipaddress.IPv6Address) and (
        address.is_link_local or address.scope_id is not None or address.ipv4_mapped is not None
    ):
        return f"{text} is a link-local address, or an IPv4 one written as IPv6: {advice}"
    return None


def own_addresses(net: Path = Path("/proc/net")) -> list[Address]:
    """Addresses of this host, in its network namespace.

    Not found by bind(2), which takes broadcast addresses too, and with net.ipv4.ip_nonlocal_bind those of other hosts.
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
    """A virsh command for people to paste into a shell, whatever the guest is called."""
    return shlex.join(["virsh", "-c", uri, command, "--domain", name, *options])
