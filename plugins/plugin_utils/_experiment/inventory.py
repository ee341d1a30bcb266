# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Is this inventory a testbed? Every reason why not, before any of its hosts is touched."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ...module_utils._host import endpoints
from .controller import COLLECTION_ROOT

# Groups of one host each: the guest leaves the first for the second; its image is built on the third.
PARTS = ("source_host", "destination_host", "image_builder")
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
        for group in PARTS
        if len(groups.get(group, ())) != 1
    ]
    if not wrong:
        wrong += _hosts(groups, variables, embedded_lab)
    if wrong:
        return [f"This inventory is no testbed: {'; '.join(wrong)}. {REMEDY}."]
    return [*_caller(groups, in_play, embedded_lab, os.geteuid() if uid is None else uid)]


def _listed(hosts: Collection[str]) -> str:
    return ", ".join(hosts) if hosts else "no host"


def _hosts(
    groups: Mapping[str, Collection[str]], variables: Mapping[str, Mapping[str, Any]], embedded_lab: bool
) -> Iterator[str]:
    source, destination, builder = (next(iter(groups[part])) for part in PARTS)
    if source == destination:
        yield f"{source} is both source and destination"
    if set(groups.get(HYPERVISORS, ())) != {source, destination}:
        yield (
            f"group {HYPERVISORS} has {_listed(groups.get(HYPERVISORS, ()))} instead of the source and the destination"
        )
    for name, meaning in DESTINATION_VARIABLES.items():
        if not variables[destination].get(name):
            yield f"{destination} has no {name}, {meaning}"
    for host, name in ((source, "testbed_migration_address"), *((destination, name) for name in CHECKS)):
        value = variables[host].get(name)
        if value and (problem := CHECKS[name](str(value))) is not None:
            yield f"{host}: {name}: {problem}"
    addresses = [variables[host].get("testbed_migration_address") for host in (source, destination)]
    if source != destination and addresses[0] and addresses[0] == addresses[1]:
        yield f"{source} and {destination} have the same testbed_migration_address, {addresses[0]}"
    local = variables[builder].get("ansible_connection", "local" if builder == "localhost" else None) == "local"
    if not local and not variables[builder].get("testbed_image_transfer_dir"):
        yield (
            f"the image builder {builder} is another machine, so testbed_image_transfer_dir must name a folder of this "
            f"one through which the image reaches the hosts"
        )
    lab_hosts = variables[source].get("local_lab_hosts") or []
    if embedded_lab and not (lab_hosts and variables[source].get("ansible_host") == lab_hosts[0]["management_address"]):
        yield f"testbed_embedded_lab is true, but {source} is not a host of the embedded lab"


def _caller(
    groups: Mapping[str, Collection[str]], in_play: Collection[str], embedded_lab: bool, uid: int
) -> Iterator[str]:
    if embedded_lab and uid != 0:
        yield (
            "The embedded lab needs root, for network namespaces and cgroups: run 'sudo make experiment', or use real "
            "hosts with -i (inventory/lab is an example)."
        )
    needed = dict.fromkeys(["localhost", *(host for part in PARTS for host in groups[part])])
    left_out = [host for host in needed if host not in in_play]
    if left_out:
        yield f"--limit leaves out {_listed(left_out)}, but a testbed is used as a whole: do without --limit."
