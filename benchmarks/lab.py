# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The embedded lab for benchmarks: commands and modules on its hosts, and guests to migrate."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.vcsp.testbed.plugins.module_utils._lab.link import DEVICE
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment import lock

ROOT = Path(__file__).resolve().parents[1]
INVENTORY: Mapping[str, Any] = yaml.safe_load((ROOT / "inventory/local/group_vars/all.yml").read_text())
HOSTS = {host["name"]: host for host in INVENTORY["local_lab_hosts"]}
SSH_DIR = Path(INVENTORY["local_lab_state_dir"]) / "ssh"
LINK_FILE = Path("/run/vcsp-lab/link.json")
GUEST = "vcsp-guest"
# Saving guests takes minutes, all else seconds; anything that takes this long hangs.
TIMEOUT_S = 1200


class BenchmarkError(Exception):
    """A benchmark cannot run, or part of it failed; the message says why and what to do."""


@dataclass(frozen=True)
class Guests:
    """Saved guests to migrate: where they are on the source, and what testbed_info returned for the hosts."""

    state_dir: str
    hosts: Mapping[str, Any]


@contextmanager
def taken() -> Iterator[None]:
    """Have the lab to oneself, and leave no guest there.

    :raises BenchmarkError: there is no lab, or it is in use.
    """
    if os.geteuid() != 0:
        raise BenchmarkError("the embedded lab needs root")
    for host in HOSTS:
        if not SSH_DIR.is_dir() or subprocess.run([*ssh(host), "true"], capture_output=True, timeout=30).returncode:
            raise BenchmarkError(f"the lab's host {host} does not answer: run 'make lab provision' first")
    try:
        lock.acquire(lock.default_path(), "a benchmark", str(ROOT), os.getpid())
    except lock.LockedError as error:
        raise BenchmarkError(str(error)) from error
    try:
        yield
    finally:
        end_guests()
        lock.release(lock.default_path(), os.getpid())


def ssh(host: str) -> list[str]:
    """Return the command prefix that runs a command on a lab host."""
    return [
        "ssh", "-F", "/dev/null", "-i", str(SSH_DIR / "id_ed25519"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
        "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10", "-o", f"UserKnownHostsFile={SSH_DIR / 'known_hosts'}",
        f"root@{HOSTS[host]['management_address']}",
    ]  # fmt: skip


def python(host: str, script: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a script with the host's own Python; it can import the collection from the checkout, which hosts share."""
    command = ["env", f"PYTHONPATH={ROOT / 'collections'}", "python3", str(script), *arguments]
    return subprocess.Popen([*ssh(host), shlex.join(command)], stdout=subprocess.PIPE, text=True)


def check_link(rate_mbit: int) -> None:
    """Make sure that the destination's migration link has this rate and acknowledges at once.

    :raises BenchmarkError: it does not.
    """

    command = [*ssh("destination"), f"ip route show dev {DEVICE}"]
    route = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    known = json.loads(LINK_FILE.read_text()) if LINK_FILE.exists() else {"link": {"rate_mbit": None}}
    if known["link"]["rate_mbit"] != rate_mbit or "quickack 1" not in route:
        raise BenchmarkError(f"the lab's link must have {rate_mbit} Mbit/s and quickack 1: run 'make lab' first")


def save_guests(scenario: Mapping[str, Any]) -> Guests:
    """Make sure that there is a saved guest for each workload of a scenario.

    :raises BenchmarkError: a guest cannot be saved, or the destination cannot load the prefetch program.
    """
    with tempfile.TemporaryDirectory() as directory:
        path, output = Path(directory, "scenario.yml"), Path(directory, "guests.json")
        path.write_text(yaml.safe_dump(dict(scenario)))
        files = ["-e", f"scenario={path}", "-e", f"guests_file={output}"]
        done = ansible("ansible-playbook", "benchmarks/guests.yml", *files)
        if done.returncode:
            raise BenchmarkError(f"the guests could not be saved:\n{done.stdout}{done.stderr}")
        guests = Guests(**json.loads(output.read_text()))
    ebpf = guests.hosts["destination"]["ebpf"]
    if not ebpf["usable"]:
        raise BenchmarkError(
            f"the destination cannot load the prefetch program ({ebpf['reason']}): run 'make provision'"
        )
    return guests


def migrate(guests: Guests, workload: Mapping[str, Any], method: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """Restore the guest of a workload on the source, migrate, verify and end it; return the module's result.

    :raises BenchmarkError: a step failed, or the measurement does not count.
    """
    module("source", "saved_guest", name=GUEST, state="running", directory=guests.state_dir, workload=workload)
    try:
        result = module(
            "destination", "postcopy_migration", name=GUEST, source_uri="qemu+ssh://root@source/system",
            migration_address=HOSTS["destination"]["migration_address"], window_mb=workload["window_mb"], baseline_s=1,
            verify=True, end_guest=True, cpu_latency_us=0, method=method, **options,
        )  # fmt: skip
    except BaseException:
        end_guests()
        raise
    if not result["validity"]["valid"]:
        raise BenchmarkError("; ".join(result["validity"]["reasons"]))
    return result


def end_guests() -> None:
    """End whatever a migration may have left, the destination's half first."""
    for host in ("destination", "source"):
        module(host, "saved_guest", name=GUEST, state="absent")


def module(host: str, name: str, /, **arguments: Any) -> dict[str, Any]:
    """Run a module of the collection on a host and return its result.

    :raises BenchmarkError: it failed.
    """
    done = ansible("ansible", host, "-m", f"vcsp.testbed.{name}", "-a", json.dumps(arguments))
    try:
        result: dict[str, Any] = json.loads(done.stdout.partition("=> ")[2])
    except ValueError:
        raise BenchmarkError(f"{name} on {host} returned no result:\n{done.stdout}{done.stderr}") from None
    if done.returncode:
        raise BenchmarkError(f"{name} on {host}: {result['msg']}")
    return result


def ansible(*command: str) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's commands in the checkout, with plain output and results in JSON."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_STDOUT_CALLBACK": "default",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    }
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
