# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The processes beside the module where systemd runs: they outlive it and its session, and end by themselves."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import ROOT, wait_until
from .minimal_debian import MinimalDebian

pytestmark = pytest.mark.long
Run = Callable[..., str]
PACKAGES = "ca-certificates,systemd-sysv,dbus,libpam-systemd,python3,procps"
# A host that ends what a user leaves behind, root included.
LOGIND = "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=nobody\n"
FOLDER = "/run/vcsp-oob-test"
# A monitor that answers every command, and ends on "quit".
QEMU = f"""
import json, os, socket
os.mkdir("{FOLDER}")
listener = socket.socket(socket.AF_UNIX)
listener.bind("{FOLDER}/monitor")
listener.listen()
monitor, _address = listener.accept()
for line in monitor.makefile():
    command = json.loads(line)["execute"]
    monitor.sendall(json.dumps({{"return": command}}).encode() + b"\\n")
    if command == "quit":
        break
"""
MODULE = f"""
import socket, sys, time
from pathlib import Path
sys.path.insert(0, "/opt")
from plugins.module_utils._destination.deadman import DeadMan
from plugins.module_utils._host import beside, monitor_holder
man = DeadMan()
man.arm("quota", write=[(Path("/run/quota"), "-1")], run=["touch", "/run/released"])
qemu = socket.socket(socket.AF_UNIX)
qemu.connect("{FOLDER}/monitor")
beside.start(monitor_holder, "{FOLDER}", stdin=qemu.fileno())
Path("/run/armed").touch()
time.sleep(3600)
"""
CLIENT = f"""
import json, socket, sys
monitor = socket.socket(socket.AF_UNIX)
monitor.settimeout(30)
monitor.connect("{FOLDER}/held")
monitor.sendall(json.dumps({{"execute": sys.argv[1]}}).encode() + b"\\n")
print(json.loads(monitor.makefile().readline())["return"])
"""


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Debian that systemd-nspawn can boot, with the collection in it."""
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("there is no systemd-nspawn: apt-get install systemd-container")
    root = tmp_path_factory.mktemp("debian")
    MinimalDebian(root, PACKAGES).build()
    shutil.copytree(ROOT / "plugins", root / "opt/plugins")
    logind = root / "etc/systemd/logind.conf.d/test.conf"
    logind.parent.mkdir(parents=True)
    logind.write_text(LOGIND)
    yield root
    shutil.rmtree(root)


@pytest.fixture
def booted(debian: Path) -> Iterator[Run]:
    """Runs commands on a host that systemd runs."""
    command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--boot", "-D", debian]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) as nspawn:
        children = ["pgrep", "-P", str(nspawn.pid), "systemd"]
        leader = wait_until(lambda: subprocess.run(children, capture_output=True, text=True).stdout, 60, "systemd")

        def run(*words: str, check: bool = True) -> str:
            inside = ["nsenter", "--all", "--target", leader.strip(), *words]
            done = subprocess.run(inside, stdin=quiet, stdout=subprocess.PIPE, text=True, timeout=60)
            assert not check or done.returncode == 0, done.stdout
            return done.stdout

        try:
            ready = ("running\n", "degraded\n")
            wait_until(lambda: run("systemctl", "is-system-running", check=False) in ready, 120, "the host to boot")
            yield run
        finally:
            run("systemctl", "poweroff", check=False)
            nspawn.wait(120)


def units(run: Run) -> list[str]:
    """Programs of ours that are units, and of no session."""
    found = run("systemctl", "list-units", "--plain", "--no-legend", "vcsp-*.service").split("\n")
    return sorted(line.split()[-1] for line in found if line)


ENDS = {
    "the module is killed": "systemctl kill --kill-whom=main --signal=KILL module",
    "its session ends": "loginctl terminate-session $(loginctl --no-legend list-sessions | cut -d' ' -f1)",
}


@pytest.mark.parametrize("end", ENDS)
def test_what_is_beside_the_module_outlives_it(booted: Run, end: str) -> None:
    booted("sh", "-c", "echo 50 > /run/quota")
    booted("systemd-run", "--quiet", "--unit=qemu", "python3", "-c", QEMU)
    wait_until(lambda: booted("ls", f"{FOLDER}/monitor", check=False), 60, "QEMU")
    booted("systemd-run", "--quiet", "--unit=module", "-p", "User=root", "-p", "PAMName=login", "python3", "-c", MODULE)
    wait_until(lambda: booted("ls", "/run/armed", check=False), 60, "the module")
    assert units(booted) == ["vcsp-deadman", "vcsp-monitor"]
    booted("sh", "-c", ENDS[end])
    wait_until(lambda: units(booted) == ["vcsp-monitor"], 60, "the dead-man to end")
    assert booted("cat", "/run/quota") == "-1\n"
    assert booted("ls", "/run/released")
    assert booted("pgrep", "-f", "armed", check=False) == "", "the module lives"
    assert booted("python3", "-c", CLIENT, "query-yank") == "query-yank\n"
    assert booted("python3", "-c", CLIENT, "quit") == "quit\n"
    wait_until(lambda: units(booted) == [], 60, "the monitor's holder to end")
    assert "vcsp" not in booted("ls", "/run")
    assert booted("systemctl", "list-units", "--failed", "--plain", "--no-legend", "vcsp-*") == ""
