# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Is this inventory a testbed? Every reason why not, before any of its hosts is touched."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ...module_utils._host import endpoints
from .controller import COLLECTION_ROOT
from .pairs import GROUP, MEMBERS, STACK, Pair, pairs

BUILDER = "image_builder"
# Groups of one host each, the first two of one per pair: the guest leaves the first for the second; its image is built
# on the third.
PARTS = (*MEMBERS.values(), BUILDER)
HYPERVISORS = "hypervisors"
# What the destination must say about itself.
DESTINATION_VARIABLES = {
    "testbed_migration_address": "its address on the network that carries migrations",
    "testbed_source_uri": "the source's libvirt as seen from it, such as qemu+ssh://root@node1.example.org/system",
}
CHECKS = {
    "testbed_migration_address": endpoints.address_problem,
    "testbed_migration_ports": endpoints.ports_problem,
    "testbed_source_uri": endpoints.uri_problem,
}
# A stack is part of the names of trials, and a folder of the report.
_STACK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
# What keeps the embedded labs of pairs apart.
LAB_VARIABLES = ("local_lab_name", "local_lab_state_dir", "local_lab_run_dir", "local_lab_controller_address")
REMEDY = (
    f"Give the testbed's inventory with -i: {COLLECTION_ROOT}/inventory/local for the embedded lab, or your own, made "
    f"after {COLLECTION_ROOT}/inventory/lab"
)


def inventory_problems(
    groups: Mapping[str, Collection[str]],
    variables: Mapping[str, Mapping[str, Any]],
    in_play: Collection[str],
    embedded_lab: bool,
    uid: int | None = None,
) -> list[str]:
    """Return every reason why an inventory cannot be used as a testbed, ready for people; an empty list if it can.

    :param groups: group -> its hosts
    :param variables: host -> its variables
    :param in_play: hosts that ``--limit`` leaves
    :param embedded_lab: whether the hosts are those that the playbooks make on this machine
    :param uid: user id on the controller; by default, that of this process
    """
    wrong = [
        f"group {group} has {_listed(groups.get(group, ()))} instead of one host"
        for group in ((BUILDER,) if groups.get(GROUP) else PARTS)
        if len(groups.get(group, ())) != 1
    ]
    if not wrong:
        found = pairs(groups, variables)
        wrong += [*_parts(groups, found)] or _hosts(groups, found, variables, embedded_lab)
    if wrong:
        return [f"This inventory is no testbed: {'; '.join(wrong)}. {REMEDY}."]
    return [*_caller(groups, in_play, embedded_lab, os.geteuid() if uid is None else uid)]


def _listed(hosts: Collection[str]) -> str:
    return ", ".join(hosts) if hosts else "no host"


def _parts(groups: Mapping[str, Collection[str]], found: Sequence[Pair]) -> Iterator[str]:
    """Yield why the hosts of the pairs are not those of the groups."""
    members = Counter(host for pair in found for host in pair.hosts if host)
    several = len(found) > 1
    for pair in found:
        for (variable, group), host in zip(MEMBERS.items(), pair.hosts, strict=True):
            if not host:
                yield f"pair {pair.runner} has no {variable}, the name of a host of the group {group}"
            elif host not in groups.get(group, ()):
                yield f"pair {pair.runner}: {variable}: {host} is not in the group {group}"
        if pair.name in members:
            yield f"{pair.name} is a pair and a host: give the pair a name"
    for host in (host for host, count in members.items() if count > 1):
        yield _twice(host, found) if several else f"{host} is both source and destination"
    for group in MEMBERS.values():
        for host in (host for host in groups.get(group, ()) if host not in members):
            yield f"{host} of the group {group} is in no pair"
    if set(groups.get(HYPERVISORS, ())) != set(members):
        wanted = "sources and the destinations of the pairs" if several else "source and the destination"
        yield f"group {HYPERVISORS} has {_listed(groups.get(HYPERVISORS, ()))} instead of the {wanted}"


def _twice(host: str, found: Sequence[Pair]) -> str:
    parts = [
        f"the {part} of {pair.name}"
        for pair in found
        for part, member in zip(("source", "destination"), pair.hosts, strict=True)
        if member == host
    ]
    return f"{host} is {' and '.join(parts)}, and a host has one part in one pair"


def _hosts(
    groups: Mapping[str, Collection[str]],
    found: Sequence[Pair],
    variables: Mapping[str, Mapping[str, Any]],
    embedded_lab: bool,
) -> list[str]:
    """Return what the variables of the hosts lack."""
    wrong = [problem for pair in found for problem in _pair(pair, variables, embedded_lab)]
    wrong += _shared(found, variables, embedded_lab)
    wrong += _stacks(groups.get(GROUP, ()), variables)
    builder = next(iter(groups[BUILDER]))
    local = variables[builder].get("ansible_connection", "local" if builder == "localhost" else None) == "local"
    if not local and not variables[builder].get("testbed_image_transfer_dir"):
        wrong.append(
            f"the image builder {builder} is another machine, so testbed_image_transfer_dir must name a folder of this "
            f"one through which the image reaches the hosts"
        )
    return wrong


def _pair(pair: Pair, variables: Mapping[str, Mapping[str, Any]], embedded_lab: bool) -> Iterator[str]:
    source, destination = pair.hosts
    for name, meaning in DESTINATION_VARIABLES.items():
        if not variables[destination].get(name):
            yield f"{destination} has no {name}, {meaning}"
    for host, name in ((source, "testbed_migration_address"), *((destination, name) for name in CHECKS)):
        value = variables[host].get(name)
        if value and (problem := CHECKS[name](str(value))) is not None:
            yield f"{host}: {name}: {problem}"
    if not embedded_lab:
        return
    # Of several labs, each belongs to a pair.
    of_lab = variables[pair.name or source]
    lab_hosts = of_lab.get("local_lab_hosts") or []
    if not (lab_hosts and variables[source].get("ansible_host") == lab_hosts[0]["management_address"]):
        yield f"testbed_embedded_lab is true, but {source} is not a host of the embedded lab"
    if pair.name and of_lab.get("ansible_connection") != "local":
        yield f"the lab of pair {pair.name} is made on this machine: give the pair ansible_connection: local"


def _stacks(names: Collection[str], variables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield what is wrong with the names of the pairs' stacks."""
    said = {name: str(variables[name].get(STACK) or "") for name in names}
    silent = [name for name, stack in said.items() if not stack]
    if silent and len(silent) < len(said):
        yield f"{_listed(silent)} has no {STACK}, which other pairs have: name the stack of every pair, or of none"
    for name, stack in said.items():
        if stack and not _STACK_NAME.fullmatch(stack):
            yield (
                f'pair {name}: {STACK}: is "{stack}"; use at most 40 letters, digits, ".", "_" and "-", with a letter '
                f"or digit first"
            )


def _shared(found: Sequence[Pair], variables: Mapping[str, Mapping[str, Any]], embedded_lab: bool) -> Iterator[str]:
    """Yield which hosts have an address in common, and which pairs a lab."""
    hosts = [host for pair in found for host in pair.hosts]
    yield from _twins("testbed_migration_address", hosts, variables)
    if len(found) > 1:
        # A host may be reached through another's port.
        ports = [str(variables[host].get("ansible_port")) for host in hosts]
        for port in dict.fromkeys(ports):
            alike = [host for host, own in zip(hosts, ports, strict=True) if own == port]
            yield from _twins("ansible_host", alike, variables)
        for name in LAB_VARIABLES if embedded_lab else ():
            yield from _twins(name, [pair.runner for pair in found], variables, "that of the role")


def _twins(
    name: str, hosts: Sequence[str], variables: Mapping[str, Mapping[str, Any]], default: str | None = None
) -> Iterator[str]:
    """Yield which hosts have the same value of a variable; without a default, one that lacks it is like no other."""
    alike = defaultdict(list)
    for host in hosts:
        if value := variables[host].get(name) or default:
            alike[str(value)].append(host)
    for value, twins in alike.items():
        if len(twins) > 1:
            yield f"{' and '.join(twins)} have the same {name}, {value}"


def _caller(
    groups: Mapping[str, Collection[str]], in_play: Collection[str], embedded_lab: bool, uid: int
) -> Iterator[str]:
    if embedded_lab and uid != 0:
        yield (
            "The embedded lab needs root, for network namespaces and cgroups: run 'sudo make experiment', or use real "
            "hosts with -i (inventory/lab is an example)."
        )
    needed = dict.fromkeys(["localhost", *(host for group in (*PARTS, GROUP) for host in groups.get(group, ()))])
    left_out = [host for host in needed if host not in in_play]
    if left_out:
        yield f"--limit leaves out {_listed(left_out)}, but a testbed is used as a whole: do without --limit."
