# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The migration link of the embedded lab: a wire with a rate and a delay, a queue before each end, and the proof.

The wire is a process of the lab (``wire.c`` of the role local_lab) between two TUN devices, one in each host's
namespace. The queue and TCP's congestion control are the kernel's.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .._link import REQUEST_BYTES, Link, remarks, shortfalls
from .cgroups import cgroup_hierarchies
from .network import NETNS_DIR, Network
from .processes import start_time, wait_for
from .queue import buffer_bytes, commands
from .spec import Host, Spec
from .step import LabError, Step

DEVICE = "mig0"
# Above every process that is no kernel thread's: a packet that is due does not wait for a guest.
PRIORITY = 50
TRIMS, ATTEMPTS = 4, 3


class MigrationLink:
    """Compares the link with a Spec and repairs it, step by step.

    :raises LabError: a command failed, or the link is not what was asked for.
    """

    def __init__(self, spec: Spec, network: Network) -> None:
        self._spec = spec
        self._network = network

    def steps(self) -> Iterator[Step]:
        """Steps that are still needed, each looked at only when the one before is done."""
        spec, link = self._spec, self._spec.link
        new = not self._carries()
        if new:
            yield Step("migration link", self._join)
        elif self._known().get("wire") != [link.rate_mbit, link.delay_us]:
            yield Step(f"migration link of {link.rate_mbit} Mbit/s and {link.delay_us} us", self._set)
        for host in spec.hosts:
            if new or not self._has_route(host):
                yield Step(f"acknowledgements and congestion control of {host.name}", partial(self._set_route, host))
        for host in spec.hosts:
            if new or not self._has_queue(host):
                yield Step(f"{link.queue} queue of {host.name}", partial(self._set_queue, host))
        proof = None if new else self.proof()
        if proof is None or shortfalls(link, proof):
            yield Step("proof of the migration link", self._prove, changes=False)

    def leftovers(self) -> Iterator[Step]:
        """Steps that remove it."""
        if self._wire_pid() is not None:
            yield Step("migration link", self._stop)

    def proof(self) -> dict[str, Any] | None:
        """Return what the link was seen to do; None if that is not known."""
        known = self._known()
        return known.get("proof") if known.get("link") == vars(self._spec.link) else None

    def remarks(self) -> list[str] | None:
        """Return what there is to say of the link, as proved; None if it was not."""
        proof = self.proof()
        return None if proof is None else remarks(self._spec.link, proof)

    # -- the wire ----------------------------------------------------------------------------------------------------

    def _program(self, name: str) -> Path:
        """A program that the role local_lab has compiled."""
        return self._spec.state_dir / "link" / name

    def _digest(self) -> str:
        try:
            return hashlib.sha256(self._program("wire").read_bytes()).hexdigest()
        except FileNotFoundError:
            return "none"  # check mode compiles nothing

    def _wire(self) -> list[str]:
        """Pid, start and digest of the wire's process; empty if there was none."""
        try:
            return (self._spec.run_dir / "wire").read_text().split()
        except FileNotFoundError:
            return []

    def _wire_pid(self) -> int | None:
        found = self._wire()
        return int(found[0]) if len(found) == 3 and start_time(int(found[0])) == found[1] else None

    def _carries(self) -> bool:
        return (
            self._wire_pid() is not None
            and self._wire()[2] == self._digest()
            and all(
                self._network.is_up(self._spec.netns(host), DEVICE, host.migration_address) for host in self._spec.hosts
            )
        )

    def _join(self) -> None:
        spec = self._spec
        self._stop()
        for host in spec.hosts:
            self._network.remove(spec.netns(host), DEVICE)  # of an earlier version, or a user's
        self._write_settings(spec.link.delay_us * 1000)
        log = spec.run_dir / "wire.log"
        with log.open("wb") as output:
            wire = subprocess.Popen(
                [self._program("wire"), self._settings, DEVICE, *(NETNS_DIR / spec.netns(host) for host in spec.hosts)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        # Before it is ready, so that an interruption leaves nothing that nobody ends.
        (spec.run_dir / "wire").write_text(f"{wire.pid} {start_time(wire.pid)} {self._digest()}\n")
        self._let_run_first(wire.pid)
        wait_for(
            lambda: wire.poll() is not None or all(self._network.has(spec.netns(host), DEVICE) for host in spec.hosts),
            timeout_s=10,
        )
        if wire.poll() is not None:
            raise LabError(f"the migration link cannot be made: {log.read_text().strip()}")
        for host in spec.hosts:
            self._network.address(spec.netns(host), DEVICE, host.migration_address)
        self._remember()

    def _let_run_first(self, pid: int) -> None:
        """Let a process run whenever it can, which the kernel may grant in the root cgroup only."""
        for point, _is_v2 in cgroup_hierarchies(Path("/proc/self/mounts").read_text()):
            with contextlib.suppress(OSError):
                (point / "cgroup.procs").write_text(str(pid))
        try:
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(PRIORITY))
        except PermissionError:
            os.setpriority(os.PRIO_PROCESS, pid, -20)

    def _stop(self) -> None:
        pid = self._wire_pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            if not wait_for(lambda: start_time(pid) is None, timeout_s=20):
                raise LabError(f"the migration link (pid {pid}) does not end; look at 'ps -o pid,stat,wchan {pid}'")
        (self._spec.run_dir / "wire").unlink(missing_ok=True)
        (self._spec.run_dir / "link.json").unlink(missing_ok=True)

    @property
    def _settings(self) -> Path:
        return self._spec.run_dir / "wire.settings"

    def _write_settings(self, delay_ns: int) -> None:
        new = self._settings.with_suffix(".new")
        new.write_text(f"{self._spec.link.rate_mbit * 1_000_000} {delay_ns}\n")
        new.replace(self._settings)

    def _set(self) -> None:
        self._delay(self._spec.link.delay_us * 1000)
        self._remember()

    def _delay(self, delay_ns: int) -> None:
        self._write_settings(delay_ns)
        pid = self._wire_pid()
        if pid is not None:
            os.kill(pid, signal.SIGHUP)

    def _known(self) -> dict[str, Any]:
        try:
            known: dict[str, Any] = json.loads((self._spec.run_dir / "link.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return known

    def _remember(self, proof: dict[str, Any] | None = None) -> None:
        link = self._spec.link
        text = json.dumps({"wire": [link.rate_mbit, link.delay_us], "link": vars(link), "proof": proof})
        (self._spec.run_dir / "link.json").write_text(text)

    # -- TCP and the queue -------------------------------------------------------------------------------------------

    def _has_route(self, host: Host) -> bool:
        shown = self._network.shows("ip", "-n", self._spec.netns(host), "route", "show", "dev", DEVICE)
        return shown is not None and f" quickack 1 congctl {self._spec.link.congestion_control}" in shown

    def _set_route(self, host: Host) -> None:
        """QEMU sends several pages with Nagle on: the last part of each waits for an acknowledgement (ip-route(8))."""
        network = ipaddress.ip_interface(f"{host.migration_address}/{self._spec.prefix_length}").network
        self._network.ip(
            self._spec.netns(host), "route", "change", str(network), "dev", DEVICE,
            "proto", "kernel", "scope", "link", "src", host.migration_address,
            "quickack", "1", "congctl", self._spec.link.congestion_control,
        )  # fmt: skip

    def _queue_file(self, host: Host) -> Path:
        return self._spec.run_dir / f"queue-{host.name}"

    def _queue_commands(self) -> str:
        has_fq_codel = self._network.shows("unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "fq_codel")
        return "\n".join([*commands(self._spec.link, DEVICE, has_fq_codel is not None), ""])

    def _has_queue(self, host: Host) -> bool:
        """What tc shows of a class has no form to rely on, so it is compared by the commands that made it."""
        path = self._queue_file(host)
        shown = self._network.shows("tc", "-j", "-n", self._spec.netns(host), "qdisc", "show", "dev", DEVICE)
        root = [qdisc for qdisc in json.loads(shown or "[]") if qdisc.get("kind") == "htb"]
        return root != [] and path.exists() and path.read_text() == self._queue_commands()

    def _set_queue(self, host: Host) -> None:
        netns, path, new = self._spec.netns(host), self._queue_file(host), self._queue_file(host).with_suffix(".new")
        path.unlink(missing_ok=True)
        self._network.ip(
            netns, "link", "set", "dev", DEVICE, "gso_max_size", str(buffer_bytes(self._spec.link))
        )  # fmt: skip
        self._network.shows("tc", "-n", netns, "qdisc", "delete", "dev", DEVICE, "root")  # there may be none
        new.write_text(self._queue_commands())
        self._network.run("tc", "-n", netns, "-batch", str(new))
        new.replace(path)

    # -- the proof ---------------------------------------------------------------------------------------------------

    def _prove(self) -> None:
        """Trim the link, and see what comes of it."""
        link = self._spec.link
        self._trim()
        attempts = [self._probe() for _ in range(ATTEMPTS)]
        proof = {key: statistics.median(attempt[key] for attempt in attempts) for key in attempts[0]}
        proved_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        short = shortfalls(link, proof)
        # The default link is what every machine gets, as well as it can: its records say what it was.
        if short and link != Link():
            raise LabError(
                f"this machine cannot be a link of {link.rate_mbit} Mbit/s and {link.delay_us} us: {'; '.join(short)}. "
                "Try again when it has nothing else to do, or ask for a link that it can be"
            )
        self._remember({**proof, "proved_at": proved_at})

    def _trim(self) -> None:
        """Find what the wire and the hosts cost themselves, and take it from the wire's delay.

        A wire that has less time to sleep wakes up differently, so that this takes several rounds.
        """
        asked_ns = delay_ns = self._spec.link.delay_us * 1000
        tried = []
        for _ in range(TRIMS):
            self._delay(delay_ns)
            surplus_us = self._probe(with_stream=False)["ping_us"] - self._spec.link.exchange_us(REQUEST_BYTES)
            tried.append((abs(surplus_us), delay_ns))
            delay_ns = max(0, min(asked_ns, delay_ns - int(surplus_us * 1000 / 2)))
        self._delay(min(tried, key=lambda trial: trial[0])[1])

    def _probe(self, with_stream: bool = True) -> dict[str, float]:
        spec = self._spec
        exchange_s = spec.link.exchange_us(REQUEST_BYTES) / 1e6
        exchanges_s, stream_s = max(0.2, 10 * exchange_s), max(0.5, 20 * exchange_s) if with_stream else 0
        first, second = spec.hosts
        namespaces = [str(NETNS_DIR / spec.netns(host)) for host in (first, second)]
        command = [str(self._program("probe")), *namespaces, second.migration_address]
        arguments = [str(self._wire_pid()), f"{exchanges_s:.3f}", f"{stream_s:.3f}"]
        found: dict[str, float] = json.loads(self._network.run(*command, *arguments))
        return found
