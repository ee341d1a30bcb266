# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A minimal Debian in namespaces of its own: nothing is installed but what the README asks for.

It shares the machine's network, and with it the way to the package mirror. Its mounts and processes end with the
command that they were made for; its folder and cgroups are removed by ``remove``.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml

Done = subprocess.CompletedProcess[str]
PACKAGES = "make,python3-venv,git,ca-certificates"
# Beside a lab of the machine's, whose network and cgroups it shares.
LAB = {
    "local_lab_name": "minbase",
    "local_lab_controller_address": "198.19.0.1",
    "local_lab_hosts": [
        {"name": "source", "management_address": "198.19.0.11", "migration_address": "198.19.1.11"},
        {"name": "destination", "management_address": "198.19.0.12", "migration_address": "198.19.1.12"},
    ],
}
# How this machine reaches its package index and mirror.
MACHINE_FILES = ("/etc/resolv.conf", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
MACHINE_VARIABLES = ("PIP_", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
# Run in namespaces of its own; "$1" is the folder that becomes /, the rest the command.
ENTER = """
set -eu
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
hostname newcomer
cd "$root"
mkdir -p .machine run/lock
pivot_root . .machine
umount -l /.machine
"$@"
"""


class MinimalDebian:
    """A root file system, and a way to run commands in it.

    :param root: an empty folder to build it in.
    :param packages: what is installed, separated by commas.
    """

    def __init__(self, root: Path, packages: str = PACKAGES) -> None:
        self.root, self.packages = root, packages

    def build(self) -> None:
        if shutil.which("mmdebstrap") is None:
            pytest.fail("the minimal Debian is built by mmdebstrap: apt-get install mmdebstrap")
        targets = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI)"]
        lines = self._output(*targets, "Created-By: Packages").splitlines()
        mirrors = [uri for *of, uri in map(str.split, lines) if of == ["Debian", "bookworm", "main"]]
        proxies = [line for line in self._output("apt-config", "dump", "Acquire").splitlines() if "Proxy" in line]
        done = subprocess.run(
            [
                "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={self.packages}",
                "--dpkgopt=force-unsafe-io",
                *(f"--aptopt={line}" for line in proxies), "bookworm", self.root, *mirrors[:1],
            ],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
        )  # fmt: skip
        if done.returncode != 0:
            pytest.fail(f"mmdebstrap cannot build a minimal Debian (is a mirror within reach?):\n{done.stdout[-2000:]}")
        for name in MACHINE_FILES:
            if Path(name).exists():
                shutil.copyfile(name, self.root / name.lstrip("/"))
        (self.root / "lab.yml").write_text(yaml.safe_dump(LAB))

    def run(self, script: str, **variables: str) -> Done:
        """Run a shell script as root, with a lab beside the machine's; whatever it started ends with it."""
        machine = {name: value for name, value in os.environ.items() if name.startswith(MACHINE_VARIABLES)}
        ours = {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "ARGS": "-e @/lab.yml"}
        return subprocess.run(
            [
                "unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child",
                "sh", "-c", ENTER, "sh", self.root, "sh", "-c", script,
            ],
            env={**ours, **machine, **variables},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800,
        )  # fmt: skip

    def remove(self) -> None:
        shutil.rmtree(self.root)
        deadline = time.monotonic() + 60
        for group in sorted(glob.glob(f"/sys/fs/cgroup/**/{LAB['local_lab_name']}/**/", recursive=True), reverse=True):
            while True:
                try:
                    os.rmdir(group)
                    break
                except OSError:  # the kernel empties the groups of ended processes with a delay
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)

    @staticmethod
    def _output(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
