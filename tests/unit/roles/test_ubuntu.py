# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ubuntu's branch of the role hypervisor: in check mode, under an os-release that is not this machine's.

Nothing here has Ubuntu's packages: the lists are made up, but for the version of Ubuntu 24.04's QEMU.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

CODENAMES = {"22.04": "jammy", "24.04": "noble", "26.04": "resolute"}
SERVER = dict.fromkeys(["python3", "iproute2", "openssh-client", "procps"], "1")
# Only QEMU's version decides anything.
HYPERVISOR = {
    "qemu-system-x86": "1:8.2.2+ds-0ubuntu1.12",
    **dict.fromkeys(["qemu-utils", "python3-libvirt", "libbpf1", "libbpf-dev", "clang", "linux-libc-dev"], "1"),
    **dict.fromkeys(
        ["libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-daemon-system", "libvirt-clients"],
        "1",
    ),
}
PROVISION = {"name": "Provision", "ansible.builtin.include_role": {"name": "vcsp.testbed.hypervisor"}}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can have another os-release")


# Where no unit of libvirt's is active; in the order in which the role asks for them.
IDLE = "inactive inactive inactive inactive"


def provisioned(
    playbooks: Any, release: str, packages: dict[str, str], units: str = IDLE, **machine: Any
) -> tuple[int, str]:
    """What check mode says of a host with this release, packages and states of units: exit status and output."""
    directory: Path = playbooks.directory
    os_release = directory / "os-release"
    os_release.write_text(
        f'NAME="Ubuntu"\nVERSION_ID="{release}"\nVERSION="{release} LTS"\nID=ubuntu\nID_LIKE=debian\n'
        f"VERSION_CODENAME={CODENAMES[release]}\n"
    )
    programs = directory / "bin"
    programs.mkdir()
    listing = "\n".join(f"installed amd64 {name}={version}, " for name, version in packages.items())
    (programs / "dpkg-query").write_text(f"#!/bin/sh\ncat <<'END'\n{listing}\nEND\n")
    # Whoever asks it for more than the state of units is told nothing.
    (programs / "systemctl").write_text(f"#!/bin/sh\n[ $1 != is-active ] || printf '%s\\n' {units}\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    play = {"name": "Test", "hosts": "localhost", "tasks": [PROVISION]}
    variables = {"hypervisor_dir": str(directory / "none"), "hypervisor_service_managed": False, **machine}
    command = playbooks.command([play], "--check", "-e", json.dumps(variables))
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/os-release && exec "$@"', os_release, *command],
        cwd=directory,
        env={**playbooks.environment, "PATH": f"{programs}:{playbooks.environment['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout


def installed(output: str) -> set[str]:
    """What check mode says that it would install."""
    lists = re.findall(r"Would install ([a-z0-9+, -]+)\.", " ".join(output.split()))
    return {name for names in lists for name in names.split(", ")}


@pytest.mark.parametrize("release", ["24.04", "26.04"])
def test_a_server_gets_what_it_lacks_from_its_own_release(playbooks: Any, release: str) -> None:
    status, output = provisioned(playbooks, release, SERVER)
    assert status == 0, output
    system = {"libvirt-daemon-system"}  # where systemd does not run libvirtd
    assert installed(output) == set(HYPERVISOR) - system
    assert "skipping: [localhost]" in output.partition("Add backports")[2].partition("TASK")[0]
    assert not (playbooks.directory / "none").exists()


def test_a_host_that_has_all_of_it_gets_nothing(playbooks: Any) -> None:
    status, output = provisioned(playbooks, "24.04", {**SERVER, **HYPERVISOR})
    assert status == 0, output
    assert installed(output) == set()


def test_a_host_with_systemd_gets_libvirts_unit_and_has_it_started(playbooks: Any) -> None:
    machine = {"hypervisor_service_managed": True, "_hypervisor_requirements": []}
    status, output = provisioned(playbooks, "24.04", SERVER, **machine)
    assert status == 0, output
    assert installed(output) == set(HYPERVISOR)
    assert "Would start libvirtd" in output


@pytest.mark.parametrize(
    ("units", "needless"),
    [
        ("inactive inactive active inactive", set()),  # libvirtd ended because it was idle
        ("active inactive inactive inactive", {"libvirt-daemon", "libvirt-daemon-system"}),
        ("active active inactive inactive", {"libvirt-daemon", "libvirt-daemon-system"}),
    ],
)
def test_a_daemon_that_serves_is_left_alone_and_gets_no_second_one(
    playbooks: Any, units: str, needless: set[str]
) -> None:
    machine = {"hypervisor_service_managed": True, "_hypervisor_requirements": []}
    there = {name: version for name, version in {**SERVER, **HYPERVISOR}.items() if name not in needless}
    status, output = provisioned(playbooks, "24.04", there, units, **machine)
    assert status == 0, output
    assert installed(output) == set()
    start = output.partition("Start it, or restart it after an upgrade")[2].partition("TASK")[0]
    assert "skipping: [localhost]" in start, output


def test_an_older_release_is_refused_for_what_it_is(playbooks: Any) -> None:
    status, output = provisioned(playbooks, "22.04", SERVER)
    assert status != 0
    assert "is Ubuntu 22.04; migration hosts are Debian 12 or 13, or Ubuntu 24.04 or 26.04" in output
    assert installed(output) == set()
