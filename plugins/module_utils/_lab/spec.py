# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The specification of the embedded lab, checked before anything is changed.

Its names become files, devices, cgroups and words in configuration files; teardown removes its folders.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._link import QUEUES, Link

# Names of namespaces, cgroups, folders and network devices at once; a device's has 15 characters at most (IFNAMSIZ).
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
DEVICE_NAME_MAX = 15
# Other devices, namespaces and folders of the lab, and the machine itself.
_TAKEN = ("bridge", "controller", "switch", "lo", "ssh", "ca", "link", "hosts", "localhost")
_EXPECTED = (
    'is not allowed as a name: use at most {} lower-case letters, digits and "-", a letter or digit first and last'
)


# What a host runs: this machine's own files, or a system of its own, which the role local_lab knows how to make.
MACHINE = "machine"
SYSTEMS = ("debian-12", "debian-13", "debian-13-backports")


class SpecError(Exception):
    """No lab can be like that; the message says why and what to do."""


@dataclass(frozen=True)
class Host:
    """One virtual host: its name, its addresses without prefix length, and the operating system that it boots."""

    name: str
    management_address: str
    migration_address: str
    os: str = MACHINE

    @property
    def boots_system(self) -> bool:
        return self.os != MACHINE


@dataclass(frozen=True)
class Spec:
    """The specification of a lab.

    :ivar name: prefix of every namespace, device and cgroup that the lab makes.
    :ivar state_dir: keys, configuration and disks of the hosts; removed by teardown.
    :ivar run_dir: the lab's runtime state; removed by teardown.
    :ivar rate_mbit: with the next three, the migration link: see :class:`Link`.
    :ivar cpu_percent: share of the machine's processors that each host may use; 100 is no limit.
    """

    name: str
    state_dir: Path
    run_dir: Path
    hosts: tuple[Host, Host]
    controller_address: str
    prefix_length: int
    rate_mbit: int
    delay_us: int
    queue: str
    congestion_control: str
    cpu_percent: int
    owner: str

    @property
    def link(self) -> Link:
        return Link(self.rate_mbit, self.delay_us, self.queue, self.congestion_control)

    @property
    def switch(self) -> str:
        return f"{self.name}-switch"

    def netns(self, host: Host) -> str:
        return f"{self.name}-{host.name}"

    @property
    def controller_device(self) -> str:
        return f"{self.name}-ctl"


def argument_spec() -> dict[str, Any]:
    """Return the options of a module that is given a specification."""
    required = {"type": "str", "required": True}
    system = {"type": "str", "choices": [MACHINE, *SYSTEMS], "default": MACHINE}
    host = {"name": required, "management_address": required, "migration_address": required, "os": system}
    return {
        "name": {"type": "str", "default": "vcsp"},
        "state_dir": {"type": "path", "default": "/var/lib/vcsp-lab"},
        "run_dir": {"type": "path", "default": "/run/vcsp-lab"},
        "owner": {"type": "path", "required": True},
        "hosts": {"type": "list", "elements": "dict", "required": True, "options": host},
        "controller_address": required,
        "prefix_length": {"type": "int", "default": 24},
        "rate_mbit": {"type": "int", "default": 1000},
        "delay_us": {"type": "int", "default": 100},
        "queue": {"type": "str", "default": "fair", "choices": list(QUEUES)},
        "congestion_control": {"type": "str", "default": "cubic"},
        "cpu_percent": {"type": "int", "default": 100},
    }


def of_arguments(arguments: Mapping[str, Any]) -> Spec:
    """Return the specification that a module is given.

    :raises SpecError: it is wrong
    """
    given = {name: arguments[name] for name in argument_spec()}
    if len(given["hosts"]) != 2:
        raise SpecError("hosts: the lab has exactly two hosts, a source and a destination")
    given["hosts"] = tuple(Host(**host) for host in given["hosts"])
    spec = Spec(**{**given, "state_dir": Path(given["state_dir"]), "run_dir": Path(given["run_dir"])})
    wrong = problems(spec)
    if wrong:
        raise SpecError("; ".join(wrong))
    return spec


def problems(spec: Spec) -> list[str]:
    """What is wrong with the names, addresses, limits and folders of a lab; empty if nothing is."""
    found = []
    longest = DEVICE_NAME_MAX - len("-ctl")
    if not _is_label(spec.name, longest):
        found.append(f"name: {spec.name!r} {_EXPECTED.format(longest)}")
    names = [host.name for host in spec.hosts]
    for name in names:
        if not _is_label(name, DEVICE_NAME_MAX):
            found.append(f"hosts: the name {name!r} {_EXPECTED.format(DEVICE_NAME_MAX)}")
        elif name in _TAKEN:
            found.append(f"hosts: {name} is a name that the lab needs itself ({', '.join(_TAKEN)}): choose another")
    if len(set(names)) != len(names):
        found.append(f"hosts: both are called {names[0]}: choose another name for one of them")
    found += _address_problems(spec)
    found += spec.link.problems()
    if not 1 <= spec.cpu_percent <= 100:
        found.append(f"cpu_percent: {spec.cpu_percent} is not between 1 and 100")
    for option, folder, mark in (("state_dir", spec.state_dir, "boot.sh"), ("run_dir", spec.run_dir, "lab.json")):
        problem = _folder_problem(folder, mark)
        if problem:
            found.append(f"{option}: {str(folder)!r} {problem}")
    return found


def _is_label(name: str, longest: int) -> bool:
    return len(name) <= longest and _LABEL.fullmatch(name) is not None


def _address_problems(spec: Spec) -> Iterator[str]:
    if not 8 <= spec.prefix_length <= 29:
        yield f"prefix_length: {spec.prefix_length} is not between 8 and 29"
        return
    networks = {
        "management": [("controller_address", spec.controller_address)]
        + [(f"management_address of {host.name!r}", host.management_address) for host in spec.hosts],
        "migration": [(f"migration_address of {host.name!r}", host.migration_address) for host in spec.hosts],
    }
    found: dict[str, list[ipaddress.IPv4Interface]] = {name: [] for name in networks}
    for network, members in networks.items():
        for option, text in members:
            try:
                found[network].append(ipaddress.IPv4Interface((ipaddress.IPv4Address(text), spec.prefix_length)))
            except ValueError:
                yield f"{option}: {text!r} is not an IPv4 address"
        if len({address.network for address in found[network]}) > 1:
            yield f"the addresses of the {network} network are not all in one /{spec.prefix_length}"
    every = [address for members in found.values() for address in members]
    if len(set(every)) != len(every):
        yield "two addresses are the same: give the controller and each host its own on every network"
    if {address.network for address in found["management"]} & {address.network for address in found["migration"]}:
        yield "management and migration addresses are in one network: give them two"


def _folder_problem(folder: Path, mark: str) -> str | None:
    """Why a folder cannot be the lab's, which teardown removes with everything in it.

    :param mark: name of a file that only the lab's folder has.
    """
    if not re.fullmatch(r"(/[A-Za-z0-9_][A-Za-z0-9._-]*){2,}", str(folder)):
        return 'cannot be the lab\'s: use a path such as /var/lib/vcsp-lab, of letters, digits, ".", "_" and "-"'
    try:
        entries = {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return "is not a folder: choose another path"
    except PermissionError:
        return None  # not root, which is said elsewhere
    if mark not in entries and not entries <= {"ssh", "link"}:
        return "holds something that is not the lab's, which teardown would remove with it: choose another path"
    return None
