# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The guide to real hosts, followed to the letter: its commands, in their order, on hosts that have nothing yet."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT, Done, environment, playbook
from .test_hosts import INVENTORY, LAB, left

pytestmark = pytest.mark.long
Run = Callable[[str], Done]
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs/real-hosts.md").read_text(), re.MULTILINE | re.DOTALL)
# What commands say when all is well.
SAID = {
    "make doctor": "Nothing would stop the experiment",
    "make provision": "4 of 4",
    "make smoke": "Table 3",
    "make nightly": "learning",
}
GROUPS = yaml.safe_load((ROOT / "inventory/lab/hosts.yml").read_text())["all"]["children"]["hypervisors"]["children"]
# The example's hosts, source and destination, with their variables, and what the lab has in their place.
NODES: dict[str, dict[str, Any]] = {**GROUPS["source_host"]["hosts"], **GROUPS["destination_host"]["hosts"]}
HOSTS = [
    {
        "name": name,
        "management_address": host["management_address"],
        "migration_address": variables["testbed_migration_address"],
        "os": "debian-12",
    }
    for (name, variables), host in zip(NODES.items(), LAB["local_lab_hosts"], strict=True)
]
STATE = Path(LAB["local_lab_state_dir"])
# The names of the hosts, as a site's DNS has them.
NAMES = "".join(f"{host['management_address']} {NODES[host['name']]['ansible_host']}\n" for host in HOSTS)
# What a controller has of its own is in place of this machine's, for the commands alone.
CONTROLLER = """
set -eu
mount --bind "$1/hosts" /etc/hosts
mount --bind "$1/ssh_config" /etc/ssh/ssh_config
mount --bind "$1/inventory" inventory
mount --bind "$1/results" results
exec bash -euo pipefail -c "$2"
"""
# Its user has logged in to both hosts before.
SSH = """
Host *
  IdentityFile {state}/ssh/id_ed25519
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
"""


def furnish(folder: Path) -> None:
    """Put together what the controller has of its own: names, its SSH, and where a checkout is written to."""
    (folder / "hosts").write_text(Path("/etc/hosts").read_text() + NAMES)
    (folder / "ssh_config").write_text(SSH.format(state=STATE, folder=folder))
    keys = {NODES[name]["ansible_host"]: (STATE / f"ssh/host_{name}.pub").read_text() for name in NODES}
    (folder / "known_hosts").write_text("".join(f"{name} {key}" for name, key in keys.items()))
    shutil.copytree(ROOT / "inventory", folder / "inventory", ignore=shutil.ignore_patterns("mylab"))
    (folder / "results").mkdir()
    (ROOT / "results").mkdir(exist_ok=True)


def strip(host: Path) -> None:
    """Take from a host what the lab gives it beyond a fresh system: a key, and the other's host key."""
    for name in ("id_ed25519", "known_hosts"):
        (host / "root/.ssh" / name).unlink()
    with (host / "etc/hosts").open("a") as names:
        names.write(NAMES)


@pytest.fixture(scope="module")
def controller() -> Iterator[Run]:
    """A way to give commands on a controller that reaches two hosts with a fresh system, and knows them by SSH."""
    options = ["-i", str(INVENTORY), "-e", json.dumps({"local_lab_hosts": HOSTS})]
    # Not those of a make that runs the tests.
    variables = {name: value for name, value in environment().items() if not name.startswith(("MAKE", "MFLAGS"))}
    assert left() == []
    # Its path is short: the sockets of SSH connections are below.
    with tempfile.TemporaryDirectory(prefix="guide-", ignore_cleanup_errors=True) as home:

        def run(commands: str) -> Done:
            return subprocess.run(
                ["unshare", "--mount", "sh", "-c", CONTROLLER, "sh", home, commands],
                cwd=ROOT,
                env={**variables, "HOME": home},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=1800,
            )

        try:
            done = playbook("playbooks/lab.yml", *options, timeout_s=1200)
            assert done.returncode == 0, done.stdout
            furnish(Path(home))
            for name in NODES:
                strip(STATE / name)
            yield run
        finally:
            done = playbook("playbooks/teardown.yml", *options)
    assert done.returncode == 0, done.stdout
    assert left() == []


def test_the_guide_leads_to_a_table_and_back(controller: Run) -> None:
    assert all(any(command in block for block in COMMANDS) for command in SAID)
    for block in COMMANDS:
        done = controller(block)
        print(block, done.stdout, sep="\n")
        assert done.returncode == 0, done.stdout
        for command, said in SAID.items():
            assert command not in block or said in done.stdout, done.stdout
    source, _destination = (STATE / name for name in NODES)
    assert "vcsp-testbed" not in (source / "root/.ssh/authorized_keys").read_text()
    for name, variables in NODES.items():
        guests = controller(f"ssh root@{variables['ansible_host']} virsh list --all --name")
        assert guests.stdout.split() == []
        # The guide leaves the source of packages that stay.
        find = ["find", STATE / name, "-name", "*vcsp*", "!", "-name", "vcsp-backports.sources"]
        assert subprocess.run(find, capture_output=True, text=True).stdout.split() == []
