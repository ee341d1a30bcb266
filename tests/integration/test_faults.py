# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Faults injected into real migrations at a random moment of post-copy: the guest always has a way home.

Once each in ``make test``, ten times each in ``make test-long``. Set VCSP_SEED to repeat a run's moments.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .conftest import (
    bpf_programs,
    guests,
    memory_verified,
    on,
    playbook,
    qemu_processes,
    records,
    result,
    wait_until,
    write_scenario,
)

Done = subprocess.CompletedProcess[str]
Migrate = Callable[..., Done]
SEED = os.environ.get("VCSP_SEED") or str(time.time_ns())
# Two ways to a post-copy phase of several seconds, full of traffic.
DEMAND = {"transfer": "demand", "window_mb": 200}
PUSH = {"transfer": "push", "postcopy_preempt": True, "max_postcopy_bandwidth_mb_per_s": 10}
COMMON = {
    "vcpu_quota_percent": 50,
    "prefetch_pages": 10,
    "verify": True,
    "stall_timeout_s": 3,
    "timeout_s": 150,
    "observation_s": 4,
}


@dataclass(frozen=True)
class Moment:
    """When and into what a fault is injected."""

    name: str
    after_s: float
    settings: dict[str, Any]
    thorough: bool

    @classmethod
    def draw(cls, name: str, attempt: int) -> Moment:
        """From the run's seed, which pytest shows with every failure."""
        dice = random.Random(f"{SEED}/{name}/{attempt}")
        return cls(name, dice.uniform(0, 2.5), {**COMMON, **dice.choice([DEMAND, PUSH])}, thorough=attempt > 0)


def attempts(*names: str) -> pytest.MarkDecorator:
    """One attempt of each in ``make test``, nine more in ``make test-long``."""
    return pytest.mark.parametrize(
        "moment",
        [
            pytest.param(Moment.draw(name, n), id=f"{name}-{n}", marks=[pytest.mark.long] if n else [])
            for name in names
            for n in range(10)
        ],
    )


@pytest.fixture
def background() -> Iterator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


Background = Callable[..., "Future[Any]"]


def at_moment(
    guest: Migrate, background: Background, moment: Moment, inject: Callable[[], Any], **changes: Any
) -> Done:
    """Migrate, inject a fault at a moment of post-copy, and return how the module ended."""
    print(f"VCSP_SEED={SEED}", moment)
    migration = background(guest, **{**moment.settings, **changes})
    wait_until(
        lambda: migration.done() or "running" in on("destination", "virsh domstate vcsp-guest", check=False),
        60,
        "the switch",
    )
    time.sleep(moment.after_s)
    inject()
    done: Done = migration.result()
    return done


def assert_home() -> None:
    """The guest is whole on the destination, and nothing of ours is left."""
    assert guests("source") == []
    assert "running" in on("destination", "virsh", "domstate", "vcsp-guest")
    assert memory_verified("destination")
    quota = re.findall(r"vcpu_quota\s*:\s*(-?\d+)", on("destination", "virsh", "schedinfo", "vcsp-guest"))
    assert int(quota[0]) <= 0
    assert "throttled" not in on("destination", "virsh", "dumpxml", "vcsp-guest")
    assert bpf_programs() == set()
    assert qemu_processes() == 1


def assert_migrated(done: Done) -> dict[str, Any]:
    assert done.returncode == 0, done.stdout
    returned = result(done)
    assert returned["memory_verified"] is True
    assert_home()
    return returned


def reasons(returned: dict[str, Any]) -> list[str]:
    """Why the trial is invalid, besides a fault that outlasts the window, as that of a cut of ten seconds may."""
    return [reason for reason in returned["validity"]["reasons"] if "after the observation window" not in reason]


def cut(for_s: float) -> None:
    on("destination", f"ip link set mig0 down; sleep {for_s}; ip link set mig0 up")


@attempts("cut-1s", "cut-10s")
def test_a_link_cut_for_a_while(guest: Migrate, background: Background, moment: Moment) -> None:
    seconds = 1 if moment.name == "cut-1s" else 10
    returned = assert_migrated(at_moment(guest, background, moment, lambda: cut(seconds), stall_timeout_s=15))
    assert [reason for reason in reasons(returned) if "recovered" not in reason] == []
    assert bool(reasons(returned)) == bool(returned["recoveries"])


@attempts("cut-recover")
def test_a_link_cut_until_the_watchdog_recovers(guest: Migrate, background: Background, moment: Moment) -> None:
    returned = assert_migrated(at_moment(guest, background, moment, lambda: cut(8)))
    if returned["recoveries"]:
        assert any("recovered" in reason for reason in returned["validity"]["reasons"])


@attempts("TERM")
def test_the_module_is_asked_to_end(guest: Migrate, background: Background, moment: Moment) -> None:
    done = at_moment(guest, background, moment, lambda: on("destination", "pkill -TERM -x python3", check=False))
    if done.returncode:  # else it was done before
        assert "SIGTERM" in done.stdout
        assert "runs on the destination" in done.stdout
    assert_home()


@attempts("KILL")
def test_the_module_is_killed_and_called_again(guest: Migrate, background: Background, moment: Moment) -> None:
    done = at_moment(guest, background, moment, lambda: on("destination", "pkill -KILL -x python3", check=False))
    assert bpf_programs() == set(), "the program lives no longer than its process"
    if done.returncode:
        again = guest(**moment.settings)
        assert again.returncode == 0, again.stdout
        returned = result(again)
        assert returned["taken_over"] or returned["was_home"]
        assert returned["validity"]["valid"] is False
    assert_home()
    once_more = guest(**moment.settings)
    assert result(once_more)["was_home"] is True
    assert result(once_more)["changed"] is False


@attempts("ssh")
def test_the_connection_to_the_destination_is_dropped(guest: Migrate, background: Background, moment: Moment) -> None:
    at_moment(guest, background, moment, lambda: on("destination", "pkill -f '^sshd: root@notty'", check=False))
    wait_until(lambda: guests("source") == [], 60, "the guest to come home by itself")
    wait_until(lambda: bpf_programs() == set(), 10, "the module to end")
    assert_home()


def restart_libvirtd(*hosts: str) -> None:
    """Kill libvirtd; the lab's services start it again after a second."""
    for host in hosts:
        on(host, "pkill -KILL -x libvirtd")


@attempts("libvirtd-source", "libvirtd-destination", "libvirtd-both")
def test_libvirtd_is_restarted(guest: Migrate, background: Background, moment: Moment) -> None:
    hosts = {"libvirtd-source": ["source"], "libvirtd-destination": ["destination"]}
    restarted = hosts.get(moment.name, ["source", "destination"])
    returned = assert_migrated(at_moment(guest, background, moment, lambda: restart_libvirtd(*restarted)))
    assert all("libvirt" in reason for reason in reasons(returned))


@pytest.mark.long
@pytest.mark.parametrize("host", ["source", "destination"])
def test_libvirtd_hangs(guest: Migrate, background: Background, host: str) -> None:
    """Longer than its connections are kept, so that they are opened anew while it still hangs."""
    moment = Moment.draw(f"hang-{host}", 1)
    hang = "pkill -STOP -x libvirtd; sleep 45; pkill -CONT -x libvirtd"
    returned = assert_migrated(at_moment(guest, background, moment, lambda: on(host, hang)))
    assert any("libvirt" in reason for reason in returned["validity"]["reasons"])


def shape(rate_mbit: int) -> None:
    for host in ("source", "destination"):
        on(
            host,
            f"tc qdisc change dev mig0 root tbf rate {rate_mbit}mbit burst {max(16384, rate_mbit * 62)} latency 50ms",
        )


@attempts("slow")
def test_a_link_that_becomes_slow(guest: Migrate, background: Background, moment: Moment) -> None:
    def slow() -> None:
        shape(10)
        if not moment.thorough:  # at this rate the guest takes a minute to come home
            time.sleep(5)
            shape(1000)

    try:
        done = at_moment(guest, background, moment, slow)
    finally:
        shape(1000)
    assert_migrated(done)


@attempts("loss")
def test_a_link_that_loses_packets(guest: Migrate, background: Background, moment: Moment) -> None:
    lossy = (
        "add table inet faults; add chain inet faults in { type filter hook input priority 0; }; "
        "add rule inet faults in iifname mig0 numgen random mod 100 < 3 drop"
    )
    if "command not found" in on("destination", "nft --version", check=False):
        pytest.skip("there is no nft to lose packets with, nor can every kernel do it with netem")
    try:
        done = at_moment(guest, background, moment, lambda: on("destination", f"nft '{lossy}'"))
    finally:
        on("destination", "nft delete table inet faults", check=False)
    assert_migrated(done)


@attempts("lost")
def test_a_destination_that_dies_is_told_as_lost(guest: Migrate, background: Background, moment: Moment) -> None:
    done = at_moment(
        guest, background, moment, lambda: on("destination", "pkill -KILL -f '^[^ ]*qemu-system.*vcsp-guest'")
    )
    assert done.returncode != 0
    assert "memory is lost" in done.stdout
    assert result(done)["phase"] == "lost"
    assert guests("source") == ["vcsp-guest"], "the source's half is kept for forensics"
    assert "paused" in on("source", "virsh", "domstate", "vcsp-guest")
    assert bpf_programs() == set()
    again = guest(**moment.settings)
    assert again.returncode != 0
    assert "memory is lost" in again.stdout


@attempts("early")
def test_a_module_killed_before_the_switch_leaves_the_guest_on_the_source(
    guest: Migrate, background: Background, moment: Moment
) -> None:
    migration = background(guest, **moment.settings, baseline_s=8)
    wait_until(lambda: guests("destination"), 60, "the destination's QEMU")
    time.sleep(moment.after_s)
    on("destination", "pkill -KILL -x python3")
    assert migration.result().returncode != 0
    assert "running" in on("source", "virsh", "domstate", "vcsp-guest")
    assert memory_verified("source")
    assert bpf_programs() == set()
    again = guest(**moment.settings)  # what the killed call left waiting is in the way of none
    assert_migrated(again)


def test_a_destination_without_memory_is_refused_before_the_switch(guest: Migrate, tmp_path: Path) -> None:
    meminfo = Path("/proc/meminfo").read_text()
    scarce = re.sub(r"MemAvailable: +\d+ kB", "MemAvailable: 307200 kB", meminfo)
    on("destination", f"cat > /tmp/meminfo <<'END'\n{scarce}END\nmount --bind /tmp/meminfo /proc/meminfo")
    try:
        done = guest(**COMMON, **DEMAND)
    finally:
        on("destination", "umount /proc/meminfo; rm /tmp/meminfo")
    assert done.returncode != 0
    assert "300 MB available" in done.stdout
    assert "running" in on("source", "virsh", "domstate", "vcsp-guest")
    assert guests("destination") == []


def test_a_full_disk_loses_no_record_and_the_experiment_resumes(lab: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", results], check=True)
    try:
        scenario = write_scenario(tmp_path, methods=["post-copy"])
        books = [f"playbooks/{name}.yml" for name in ("guest", "run", "report")]
        arguments = ("-e", f"scenario={scenario}", "-e", f"results_dir={results}", "-e", "experiment_id=full")
        (results / "filler").write_bytes(bytes((4 << 20) - (24 << 10)))
        done = playbook(*books, *arguments)
        assert done.returncode != 0
        assert "No space left on device" in done.stdout
        # The record of what was measured had no room; a short one that says so may have had.
        for path in (results / "full" / "trials").glob("[!.]*/record.json"):
            validity = json.loads(path.read_text())["validity"]
            assert validity["valid"] is False
            assert "No space left on device" in validity["reasons"][0]
        assert guests("source") == guests("destination") == []
        (results / "filler").unlink()
        resumed = playbook(*books, *arguments)
        assert resumed.returncode == 0, resumed.stdout
        assert records(results)["post-copy"]["validity"]["valid"] is True
    finally:
        subprocess.run(["umount", results], check=True)
