# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a guest can move between two hosts: what each finds of the other, with nothing installed there but Python."""

from __future__ import annotations

import ipaddress
import platform
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .._libvirt import LIBVIRT_IMPORT_ERROR, libvirt
from .._link import NO_QUICKACK
from .capabilities import BOOT_ID
from .endpoints import own_addresses, port_range
from .identity import identity
from .link_probe import Found, NoWay, answer, probe
from .qmp import ConnectionFailed, connect

OWN_LIBVIRT = "qemu:///system"
# Hosts that keep their clocks synchronised are within milliseconds; others are stepped at any time.
CLOCKS_S = 1.0
SSH = ["ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]


@dataclass(frozen=True)
class Answers:
    """What the destination found, and where it answers.

    :ivar port: None if it does not answer.
    :ivar source: the host at the source's URI, None if libvirt could not look.
    :ivar source_reason: why not, if it should have been able to.
    """

    host: dict[str, str]
    port: int | None
    source: dict[str, str | None] | None
    source_reason: str | None
    problems: list[str] = field(default_factory=list)


def this_host() -> dict[str, str]:
    """Which host this is, as far as that is known without libvirt."""
    return {"hostname": platform.node(), "boot_id": BOOT_ID.read_text().strip()}


def at(uri: str) -> tuple[dict[str, str | None] | None, str | None]:
    """The host at a libvirt URI, or why there is none to be seen; neither if libvirt is not installed here yet."""
    if LIBVIRT_IMPORT_ERROR is not None:
        return None, None
    try:
        connection = connect(uri)
        try:
            return identity(connection), None
        finally:
            connection.close()
    except (ConnectionFailed, libvirt.libvirtError) as error:
        return None, str(error)


def from_destination(address: str, ports: str, source_uri: str) -> Answers:
    """Look at the source's libvirt, and begin to answer on the migration address."""
    found = []
    source, reason = at(source_uri)
    if source is None and (refused := ssh_problem(source_uri)) is not None:
        found.append(refused)
        reason = None
    port = None
    own = own_addresses()
    if ipaddress.ip_address(address) not in own:
        found.append(
            f"the destination does not have the migration address {address}, but {', '.join(map(str, own)) or 'none'}: "
            "give the one that it has on the migration network"
        )
    else:
        try:
            port = answer(address, port_range(ports))
        except OSError as error:
            found.append(
                f"the destination cannot listen on {address}, TCP ports {ports}: {error.strerror or error}; choose "
                "others with testbed_migration_ports"
            )
    return Answers(this_host(), port, source, reason, found)


def ssh_problem(uri: str) -> str | None:
    """Why the source cannot be logged in to as its URI asks for; None if it can, or that is not asked for."""
    parts = urlsplit(uri)
    if parts.scheme != "qemu+ssh" or parts.hostname is None:
        return None
    options = parse_qs(parts.query)
    command = [
        *SSH,
        *(["-l", parts.username] if parts.username else []),
        *(["-p", str(parts.port)] if parts.port else []),
        *(["-i", options["keyfile"][0]] if "keyfile" in options else []),
        *(["-o", "StrictHostKeyChecking=no"] if "no_verify" in options else []),
        "--", parts.hostname, "true",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:  # it is not installed yet
        return None
    except subprocess.TimeoutExpired:
        said = "no answer within 30 s"
    else:
        if done.returncode != 255:  # all others are the command's own
            return None
        said = " ".join(done.stderr.split()) or "no reason given"
    return (
        f"the destination cannot log in to the source, as {uri} asks for ({said}): let root there log in to it without "
        f"a password, with its host key known, until '{shlex.join(command)}' succeeds on the destination"
    )


def from_source(
    address: str, ports: str, own_address: str | None, source_uri: str, there: Mapping[str, Any]
) -> tuple[Found | None, list[str]]:
    """Measure the way to the destination, and compare what both hosts found.

    :param own_address: this host's on the migration network, if it is known.
    :param there: the destination's :class:`Answers`.
    """
    problems = [*there["problems"], *_who(source_uri, there)]
    if there["port"] is None:
        return None, problems
    try:
        found = probe(address, there["port"])
    except NoWay as error:
        problems.append(
            f"the source does not get through to {error}. The source must reach TCP ports {ports} of the destination: "
            "is there a route, and does a firewall on the way or on either host drop them?"
        )
        return None, problems
    return found, problems + list(_network(found, address, own_address))


def _who(source_uri: str, there: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the hosts that were found."""
    if there["host"] == this_host():
        yield f"source and destination are the same host, {there['host']['hostname']}: a guest migrates between two"
        return
    own, _reason = at(OWN_LIBVIRT)
    if own is None:  # provisioning installs and starts it
        return
    if there["source"] is None:
        if there["source_reason"] is not None:
            yield f"the destination cannot use the source's libvirt: {there['source_reason']}"
    elif there["source"] != own:
        yield (
            f"{source_uri} leads the destination to the host {there['source']['hostname']}, but the source is "
            f"{own['hostname']}: give the source's own URI as testbed_source_uri"
        )


def _network(found: Found, address: str, own_address: str | None) -> Iterator[str]:
    if own_address is not None and ipaddress.ip_address(own_address) != ipaddress.ip_address(found.address):
        yield (
            f"the source's way to {address} begins at {found.address}, not at its migration address {own_address}: add "
            "a route over the migration network, or correct testbed_migration_address"
        )
    if found.mtu[0] != found.mtu[1]:
        yield (
            f"the migration network's MTU is {found.mtu[0]} on the source and {found.mtu[1]} on the destination: set "
            "the same on both, and on all that is between them"
        )
    offset_s, bound_s = found.clock_offset_s
    if abs(offset_s) - bound_s > CLOCKS_S:
        how = "ahead of" if offset_s > 0 else "behind"
        yield (
            f"the destination's clock is {abs(offset_s):.1f} s {how} the source's: "
            "let both keep theirs synchronised (chrony or systemd-timesyncd)"
        )


def record_of(found: Found) -> dict[str, Any]:
    """The link as records have it: what was found, and nothing that was asked for."""
    return {
        "rate_mbit": None,
        "delay_us": None,
        "queue": None,
        "congestion_control": found.congestion_control,
        "mtu": min(found.mtu),
        "quickack": found.quickack,
        "proof": {
            "ping_us": found.ping_us,
            "page_us": found.page_us,
            "bulk_mbit_per_s": found.bulk_mbit_per_s,
            "cost_cores": None,
            "proved_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    }


def warnings(found: Found) -> list[str]:
    """What would not stop an experiment, but should be known."""
    if found.quickack is not False:
        return []
    return [f"{NO_QUICKACK}. On the destination, '{found.quickack_command}' adds one for the source alone"]
