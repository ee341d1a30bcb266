# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Embedded lab: virtual hosts made of Linux namespaces, joined by an emulated link.

A host is a network, mount, UTS, IPC, PID and cgroup namespace (namespaces(7)); its PID 1 is tini, or systemd-nspawn
where the host boots an operating system of its own, so ending that one process ends everything the host ever started.
Two networks join the hosts: ``management`` (a bridge in a namespace of its own, with one leg to the controller) and
``migration`` (see :mod:`.link`).

The rest of the collection imports none of this: to roles and modules a lab host is just a host behind SSH.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .cgroups import cgroup_hierarchies, cpu_limit, make_cgroups, read_cpu_limit, remove_cgroups, write_cpu_limit
from .link import MigrationLink
from .network import NETNS_DIR, Network, Runner
from .processes import child_of, start_time, wait_for
from .spec import Host, Spec
from .step import LabError, Step

MANAGEMENT_DEVICE = "mgmt0"
# How long a host may take to come up, by whether it boots a system of its own, which may have to be unpacked.
START_S = {False: 30, True: 300}


class Lab:
    """Compares the machine with a Spec and repairs it, step by step.

    :raises LabError: a command failed, or the lab belongs to somebody else.
    """

    def __init__(self, spec: Spec, run: Runner) -> None:
        self.spec = spec
        self._network = Network(run, spec.prefix_length)
        self.link = MigrationLink(spec, self._network)

    # -- reading -----------------------------------------------------------------------------------------------------

    def owner(self) -> dict[str, Any] | None:
        """Contents of the owner file, or None when there is no lab."""
        try:
            owner: dict[str, Any] = json.loads((self.spec.run_dir / "lab.json").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return owner

    def running(self) -> list[str]:
        """Names of the hosts that run."""
        return [host.name for host in self.spec.hosts if self.init_pid(host) is not None]

    def check(self) -> None:
        """Refuse to touch the lab without being root, and a running lab of another checkout.

        A lab whose processes are gone, or whose checkout was deleted, is free to take.
        """
        if os.geteuid() != 0:
            raise LabError(
                "the embedded lab needs root: run as root or with sudo, or use -i inventory/lab with real hosts"
            )
        owner = self.owner()
        if owner is None or owner.get("checkout") == self.spec.owner:
            return
        if os.path.isdir(owner.get("checkout", "")) and self.running():
            raise LabError(
                f"the lab on this machine belongs to the checkout {owner['checkout']} (made "
                f"{owner.get('created_at')}). Run 'make teardown' there first, or name a lab of your own "
                "(local_lab_name, local_lab_state_dir and other addresses)."
            )

    def init_pid(self, host: Host) -> int | None:
        """PID, seen from outside, of the host's PID 1; None when the host does not run."""
        try:
            pid, started = (self._host_run_dir(host) / "init").read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if start_time(int(pid)) == started else None

    # -- mending -----------------------------------------------------------------------------------------------------

    def steps(self) -> Iterator[Step]:
        """Steps that are still needed, each looked at only when the one before is done."""
        spec = self.spec
        owner = self.owner()
        if owner is None or owner.get("checkout") != spec.owner:
            yield Step("claim the lab", self._write_owner)
        for name in (spec.switch, *(spec.netns(host) for host in spec.hosts)):
            if not (NETNS_DIR / name).exists() or not self._network.has(name, "lo"):
                yield Step(f"network namespace {name}", partial(self._make_netns, name))
            if not self._network.is_up(name, "lo"):
                yield Step(f"loopback of {name}", partial(self._network.ip, name, "link", "set", "dev", "lo", "up"))
        yield from self._management_steps()
        yield from self.link.steps()
        for host in spec.hosts:
            if self.init_pid(host) is None or not self._ready_file(host).exists():
                yield Step(f"host {host.name}", partial(self._start_host, host))
            elif self._booted_with(host) != self._configuration():
                yield Step(f"restart of {host.name}: its configuration has changed", partial(self._start_host, host))
        for host in spec.hosts:
            if not self._has_cpu_share(host):
                yield Step(f"CPU share of {host.name}: {spec.cpu_percent} %", partial(self._hold_cpu, host))

    def leftovers(self) -> Iterator[Step]:
        """Steps that remove what the lab made; nothing is yielded on a machine without the lab."""
        spec = self.spec
        for host in spec.hosts:
            if self.init_pid(host) is not None:
                yield Step(f"host {host.name}", lambda host=host: self._stop_host(host))  # type: ignore[misc]
        yield from self.link.leftovers()
        if self._network.has(None, spec.controller_device):
            yield Step("link to the controller", partial(self._network.remove, None, spec.controller_device))
        for name in (*(spec.netns(host) for host in spec.hosts), spec.switch):
            if (NETNS_DIR / name).exists():
                yield Step(f"network namespace {name}", partial(self._network.ip, None, "netns", "delete", name))
        groups = [point / spec.name for point, _v2 in self._cgroups() if (point / spec.name).exists()]
        if groups:
            yield Step("cgroups", lambda: remove_cgroups(groups))

    # -- management network ------------------------------------------------------------------------------------------

    def _management_steps(self) -> Iterator[Step]:
        spec = self.spec
        if not self._network.is_up(spec.switch, "bridge"):
            yield Step("management bridge", self._make_bridge)
        ends = [(host.name, spec.netns(host), MANAGEMENT_DEVICE, host.management_address) for host in spec.hosts]
        for end in (*ends, ("controller", None, spec.controller_device, spec.controller_address)):
            if not self._network.is_up(*end[1:]):
                yield Step(f"management link of {end[0]}", partial(self._plug, *end))

    def _make_bridge(self) -> None:
        if not self._network.has(self.spec.switch, "bridge"):
            self._network.ip(self.spec.switch, "link", "add", "name", "bridge", "type", "bridge")
        self._network.ip(self.spec.switch, "link", "set", "dev", "bridge", "up")

    def _plug(self, port: str, netns: str | None, device: str, address: str) -> None:
        """A veth pair from the switch to a namespace (None: the machine's own), addressed and up.

        The port has the host's name, which ip could take for one of its own words without "name" or "dev".
        """
        switch, place = self.spec.switch, netns or str(os.getpid())
        self._network.remove(switch, port)
        peer = ["peer", "name", device, "netns", place]
        self._network.ip(switch, "link", "add", "name", port, "type", "veth", *peer)
        self._network.ip(switch, "link", "set", "dev", port, "master", "bridge", "up")
        self._network.address(netns, device, address)

    # -- hosts -------------------------------------------------------------------------------------------------------

    def _configuration(self) -> str:
        """Digest of the files that the hosts boot from, keys included, but not systemd-nspawn's hidden locks."""
        folders = (self.spec.state_dir, self.spec.state_dir / "ssh")
        files = [path for folder in folders for path in sorted(folder.glob("[!.]*")) if path.is_file()]
        return hashlib.sha256(repr([(path.name, path.read_bytes()) for path in files]).encode()).hexdigest()

    def _booted_with(self, host: Host) -> str | None:
        """The configuration that a host was booted with."""
        try:
            return (self._host_run_dir(host) / "configuration").read_text()
        except FileNotFoundError:
            return None

    def _start_host(self, host: Host) -> None:
        """Boot a host, in place of one that runs with another configuration or did not come up."""
        self._stop_host(host)
        run_dir, ready = self._host_run_dir(host), self._ready_file(host)
        run_dir.mkdir(parents=True, exist_ok=True)
        ready.unlink(missing_ok=True)
        (run_dir / "configuration").write_text(self._configuration())
        pid = self._boot(host)
        init = wait_for(lambda: child_of(pid), timeout_s=10)
        if init is not None:  # written before it is ready, so that an interruption leaves nothing that nobody ends
            (run_dir / "init").write_text(f"{init} {start_time(init)}\n")
        wait_for(lambda: ready.exists() or os.waitpid(pid, os.WNOHANG)[0] == pid, START_S[host.boots_system])
        if init is None or not ready.exists():
            text = (run_dir / "boot.log").read_text()[-2000:]
            if start_time(pid) is not None:
                os.kill(pid, signal.SIGKILL)
            raise LabError(f"lab host {host.name} did not start; the end of {run_dir / 'boot.log'}:\n{text}")

    def _boot(self, host: Host) -> int:
        """Enter a host's cgroups, run its boot script as PID 1 of namespaces of its own; its parent's pid."""
        groups = make_cgroups(self._cgroups(), self.spec.name, host.name)
        log = os.open(self._host_run_dir(host) / "boot.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                null = os.open(os.devnull, os.O_RDONLY)
                for source, target in ((null, 0), (log, 1), (log, 2)):
                    os.dup2(source, target)
                os.closerange(3, os.sysconf("SC_OPEN_MAX"))
                for group in groups:
                    (group / "cgroup.procs").write_text("0")
                command = self._boot_command(host)
                os.execvp(command[0], command)
            finally:
                os._exit(127)
        os.close(log)
        return pid

    def _boot_command(self, host: Host) -> list[str]:
        netns, scripts = str(NETNS_DIR / self.spec.netns(host)), self.spec.state_dir
        own = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
        if host.boots_system:  # its script runs in this machine's network, and systemd-nspawn unshares the cgroups
            return [*own, "/bin/sh", f"{scripts}/system.sh", host.name, netns]
        boot = ["/bin/sh", f"{scripts}/boot.sh", host.name, host.management_address]
        return ["nsenter", f"--net={netns}", *own, "--cgroup", *boot]

    def _cpu_groups(self, host: Host) -> list[Path]:
        groups = [point / self.spec.name / host.name for point, _v2 in self._cgroups()]
        return [group for group in groups if read_cpu_limit(group) is not None]

    def _cpu_limit(self) -> tuple[int | None, int]:
        return cpu_limit(self.spec.cpu_percent, os.cpu_count() or 1)

    def _has_cpu_share(self, host: Host) -> bool:
        wanted, limits = self._cpu_limit(), [read_cpu_limit(group) for group in self._cpu_groups(host)]
        if wanted[0] is None:  # whatever the period
            return all(limit is None or limit[0] is None for limit in limits)
        return limits != [] and all(limit == wanted for limit in limits)

    def _hold_cpu(self, host: Host) -> None:
        groups = self._cpu_groups(host)
        if not groups:
            raise LabError(
                f"cpu_percent: {self.spec.cpu_percent} % cannot be enforced: this machine's cgroups have no CPU "
                "controller for the lab: enable it, or use 100"
            )
        for group in groups:
            write_cpu_limit(group, *self._cpu_limit())

    def _ready_file(self, host: Host) -> Path:
        """Written by boot.sh when sshd and libvirtd answer."""
        return self.spec.state_dir / host.name / "ready"

    def _stop_host(self, host: Host) -> None:
        pid = self.init_pid(host)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)  # the kernel ends every process of a PID namespace with its PID 1
            if not wait_for(lambda: start_time(pid) is None, timeout_s=20):
                raise LabError(f"lab host {host.name} (pid {pid}) does not end; look at 'ps -o pid,stat,wchan {pid}'")
        (self._host_run_dir(host) / "init").unlink(missing_ok=True)

    def _host_run_dir(self, host: Host) -> Path:
        return self.spec.run_dir / host.name

    # -- commands ----------------------------------------------------------------------------------------------------

    def _write_owner(self) -> None:
        self.spec.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        (self.spec.run_dir / "lab.json").write_text(json.dumps({"checkout": self.spec.owner, "created_at": made}))

    def _make_netns(self, name: str) -> None:
        if (NETNS_DIR / name).exists():
            self._network.ip(None, "netns", "delete", name)  # a name without a namespace: left by a reboot
        self._network.ip(None, "netns", "add", name)

    def _cgroups(self) -> list[tuple[Path, bool]]:
        return cgroup_hierarchies(Path("/proc/self/mounts").read_text())
