# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Faults injected into real migrations at a random point of their progress: the guest always has a way home.

A watcher on the destination (watcher.py) waits for the point and injects the fault, so that the machine's speed has no
say in what is hit, and every test proves what was. While a fault is injected the push is held down, lest the migration
ends first. Once each in ``make test``, ten times each in ``make test-long``. Set VCSP_SEED to repeat a run's points.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .conftest import (
    Done,
    Seen,
    bpf_programs,
    follow,
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
from .faults import BOTH, CUT, FAULTS, HOLD, JOIN, LET_GO, Step, on_each, shape

Migrate = Callable[..., Done]
SEED = os.environ.get("VCSP_SEED") or str(time.time_ns())
# Two ways to a post-copy phase full of traffic; by its limit the push takes seconds on any machine.
LIMIT_MB_PER_S = 10
DEMAND = {"transfer": "demand", "window_mb": 8}
PUSH = {"transfer": "push", "postcopy_preempt": True}
COMMON = {
    "vcpu_quota_percent": 50,
    "prefetch_pages": 10,
    "max_postcopy_bandwidth_mb_per_s": LIMIT_MB_PER_S,
    "verify": True,
    # Nothing but a fault keeps a migration from any progress for that long.
    "stall_timeout_s": 60,
    "timeout_s": 300,
}
GUEST = "vcsp-guest"
RUNS = ("STOP", "RESUME")
KILL_QEMU = FAULTS["QEMU-destination"].steps[0]
KILL_MODULE = FAULTS["KILL"].steps[0]


@dataclass(frozen=True)
class Moment:
    """When and into what a fault is injected.

    :ivar share: of the bytes that the whole migration sends, those that were sent already.
    :ivar vcsp_seed: what VCSP_SEED must be to draw it again.
    """

    name: str
    share: float
    settings: dict[str, Any]
    thorough: bool
    vcsp_seed: str = SEED

    @classmethod
    def draw(cls, name: str, attempt: int) -> Moment:
        """From the run's seed, which pytest shows with every failure."""
        dice = random.Random(f"{SEED}/{name}/{attempt}")
        return cls(name, dice.uniform(0.1, 0.6), {**COMMON, **dice.choice([DEMAND, PUSH])}, thorough=attempt > 0)


def attempts(*names: str, only_long: tuple[str, ...] = ()) -> pytest.MarkDecorator:
    """One attempt of each in ``make test``, nine more in ``make test-long``.

    :param only_long: those of which ``make test`` has something harder, and which it leaves out.
    """
    return pytest.mark.parametrize(
        "moment",
        [
            pytest.param(
                Moment.draw(name, n), id=f"{name}-{n}", marks=[pytest.mark.long] if n or name in only_long else []
            )
            for name in names
            for n in range(10)
        ],
    )


AtMoment = Callable[..., tuple[Done, list[Seen]]]


def assert_hit(*seen: Seen) -> None:
    """The guest was split over both hosts, and the module at work on it."""
    for one in seen:
        assert one.split and one.module, f"the fault missed post-copy: {one}"


def assert_home() -> None:
    """The guest is whole on the destination, and nothing of ours is left."""
    assert guests("source") == []
    assert "running" in on("destination", "virsh", "domstate", "vcsp-guest")
    assert memory_verified("destination")
    quota = re.findall(r"vcpu_quota\s*:\s*(-?\d+)", on("destination", "virsh", "schedinfo", "vcsp-guest"))
    assert int(quota[0]) <= 0
    assert "throttled" not in on("destination", "virsh", "dumpxml", "vcsp-guest")
    assert bpf_programs() == set()
    assert "vcsp-oob" not in on("destination", "ls /run")
    assert qemu_processes() == 1


def assert_on_the_source() -> None:
    """The guest runs on the source as before, and no program of ours is left."""
    assert "running" in on("source", "virsh", "domstate", "vcsp-guest")
    assert memory_verified("source")
    assert bpf_programs() == set()


def assert_migrated(done: Done, *reasons: str) -> dict[str, Any]:
    """The guest came home, and the measurement is invalid for these reasons; returns what the module did."""
    assert done.returncode == 0, done.stdout
    returned = result(done)
    assert returned["memory_verified"] is (None if returned["taken_over"] else True)
    assert returned["validity"]["reasons"] == list(reasons), returned["validity"]["reasons"]
    assert_home()
    return returned


def lost(host: str) -> str:
    """The reason that a lost connection is."""
    return f"the connection to the {host}'s libvirt was lost"


@attempts("cut-1s", "cut-10s", only_long=("cut-1s", "cut-10s"))
def test_a_link_cut_for_a_while(at_moment: AtMoment, moment: Moment) -> None:
    seconds = 1 if moment.name == "cut-1s" else 10
    done, seen = at_moment(moment, HOLD, CUT, LET_GO, ("run", f"sleep {seconds}"), JOIN)
    held, cut, let_go, slept, _joined = seen
    assert_hit(held, cut, let_go, slept)
    assert slept.received == cut.received, "memory came through a link that was cut"
    returned = assert_migrated(done)
    assert returned["recoveries"] == 0


@attempts("cut-recover", only_long=("cut-recover",))  # cut-twice
def test_a_link_cut_until_the_watchdog_recovers(at_moment: AtMoment, moment: Moment) -> None:
    done, seen = at_moment(moment, HOLD, CUT, LET_GO, ("await", "paused"), JOIN, stall_timeout_s=3)
    held, cut, _let_go, paused, _joined = seen
    assert_hit(held, cut)
    assert paused.received == cut.received, "memory came through a link that was cut"
    assert done.returncode == 0, done.stdout
    recoveries = result(done)["recoveries"]
    assert recoveries > 0
    assert_migrated(done, f"the migration stalled and was recovered {recoveries} times")


@attempts("cut-twice")
def test_a_link_cut_until_the_watchdog_recovers_and_then_cut_again(at_moment: AtMoment, moment: Moment) -> None:
    again: list[Step] = [("await", "post-copy"), HOLD, CUT]
    steps = (HOLD, CUT, LET_GO, ("await", "paused"), HOLD, JOIN, *again, LET_GO, ("await", "paused"), JOIN)
    done, seen = at_moment(moment, *steps, stall_timeout_s=3)
    assert_hit(seen[0], seen[1], seen[6], seen[8])
    assert done.returncode == 0, done.stdout
    recoveries = result(done)["recoveries"]
    assert recoveries > 1
    assert_migrated(done, f"the migration stalled and was recovered {recoveries} times")


@attempts("TERM")
def test_the_module_is_asked_to_end(at_moment: AtMoment, moment: Moment) -> None:
    done, (held, _termed, _let_go) = at_moment(moment, HOLD, *FAULTS["TERM"].steps, LET_GO)
    assert_hit(held)
    assert done.returncode != 0
    assert "SIGTERM" in done.stdout
    assert "runs on the destination" in done.stdout
    assert result(done)["phase"] == "completed"
    assert_home()


@attempts("KILL", only_long=("KILL",))  # test_ownership.py
def test_the_module_is_killed_and_called_again(guest: Migrate, at_moment: AtMoment, moment: Moment) -> None:
    done, (held, killed) = at_moment(moment, HOLD, KILL_MODULE)
    assert_hit(held)
    assert not killed.module, killed  # the dead-man may have let the guest go home already
    assert done.returncode != 0
    assert bpf_programs() == set(), "the program lives no longer than its process"
    again = guest(**{**moment.settings, "max_postcopy_bandwidth_mb_per_s": 0})
    returned = assert_migrated(again, "an interrupted migration was completed; it was not measured")
    assert returned["taken_over"] is True
    once_more = guest(**moment.settings)
    assert result(once_more)["was_home"] is True
    assert result(once_more)["changed"] is False


@attempts("ssh")
def test_the_connection_to_the_destination_is_dropped(at_moment: AtMoment, moment: Moment) -> None:
    done, (held, dropped, _let_go) = at_moment(moment, HOLD, *FAULTS["ssh"].steps, LET_GO)
    assert_hit(held, dropped)
    assert done.returncode != 0, done.stdout
    wait_until(lambda: guests("source") == [], 120, "the guest to come home by itself")
    wait_until(lambda: bpf_programs() == set(), 60, "the module to end")
    assert_home()


ONE_HOST = ("libvirtd-source", "libvirtd-destination")


@attempts(*ONE_HOST, "libvirtd-both", only_long=ONE_HOST)
def test_libvirtd_is_restarted(at_moment: AtMoment, moment: Moment) -> None:
    hosts = {"libvirtd-source": ("source",), "libvirtd-destination": ("destination",)}.get(moment.name, BOTH)
    # The end of the migration is seen by a module that is connected again.
    steps = HOLD, *FAULTS[moment.name].steps, LET_GO
    done, (held, killed, _connected, _let_go) = at_moment(moment, *steps)
    assert_hit(held, killed)
    assert_migrated(done, *map(lost, hosts))


@pytest.mark.long
@pytest.mark.parametrize("host", BOTH)
def test_libvirtd_hangs(at_moment: AtMoment, host: str) -> None:
    """Longer than its connections are kept, so that they are opened anew while it still hangs."""
    moment = Moment.draw(f"hang-{host}", 1)
    steps = HOLD, *FAULTS[f"libvirtd-hangs-{host}"].steps, LET_GO
    done, (held, hung, _clients, _let_go) = at_moment(moment, *steps)
    assert_hit(held, hung)
    assert_migrated(done, lost(host))


@attempts("slow", only_long=("slow",))
def test_a_link_that_becomes_slow(at_moment: AtMoment, moment: Moment) -> None:
    # At this rate the guest takes a minute to come home.
    fast_again = [] if moment.thorough else [on_each(BOTH, shape(1000))]
    try:
        done, seen = at_moment(moment, HOLD, on_each(BOTH, shape(10)), LET_GO, ("run", "sleep 5"), *fast_again)
    finally:
        for host in BOTH:
            on(host, shape(1000))
    held, slow, let_go, slept = seen[:4]
    assert_hit(held, slow, let_go, slept)
    mbit_per_s = (slept.received - let_go.received) * 8 / 1e6 / (slept.time_s - let_go.time_s)
    assert 0 < mbit_per_s < 11, mbit_per_s
    assert_migrated(done)


@attempts("loss")
def test_a_link_that_loses_packets(at_moment: AtMoment, moment: Moment) -> None:
    if "command not found" in on("destination", "nft --version", check=False):
        pytest.skip("there is no nft to lose packets with, nor can every kernel do it with netem")
    try:
        done, (held, lossy_now, _let_go) = at_moment(moment, HOLD, *FAULTS["loss"].steps, LET_GO)
        dropped = int(re.findall(r"packets (\d+)", on("destination", "nft list table inet faults"))[0])
    finally:
        on("destination", "nft delete table inet faults", check=False)
    assert_hit(held, lossy_now)
    assert dropped > 0
    assert_migrated(done)


@attempts("lost")
def test_a_destination_that_dies_in_post_copy_is_reported_as_lost(
    guest: Migrate, at_moment: AtMoment, moment: Moment
) -> None:
    done, (held, killed) = at_moment(moment, HOLD, KILL_QEMU)
    assert_hit(held)
    assert killed.destination is None, killed
    assert done.returncode != 0
    assert "memory is lost" in done.stdout
    assert result(done)["phase"] == "lost"
    assert guests("source") == ["vcsp-guest"], "the source's half is kept for forensics"
    assert "paused" in on("source", "virsh", "domstate", "vcsp-guest")
    assert bpf_programs() == set()
    again = guest(**moment.settings)
    assert again.returncode != 0
    assert "memory is lost" in again.stdout


# The memory is sent in a second or two, and then the guest is watched for long enough to be hit.
WATCHED = {**COMMON, **DEMAND, "max_postcopy_bandwidth_mb_per_s": 0, "observation_s": 12}


def test_a_destination_that_dies_after_completion_is_reported_as_lost(guest: Migrate) -> None:
    done, (home, killed) = follow(lambda: guest(**WATCHED), ("await", "observation"), KILL_QEMU)
    assert home.module, f"the module had ended: {home}"
    assert killed.destination is None, killed
    assert done.returncode != 0
    assert result(done)["phase"] == "lost"
    assert "The guest vcsp-guest is gone" in result(done)["msg"]
    assert "runs on the destination" not in done.stdout
    assert guests("source") == guests("destination") == []
    assert bpf_programs() == set()


@pytest.mark.long
def test_libvirtd_is_restarted_after_completion(guest: Migrate) -> None:
    steps = ("await", "observation"), FAULTS["libvirtd-destination"].steps[0]
    done, (home, _killed) = follow(lambda: guest(**WATCHED), *steps)
    assert home.module, f"the module had ended: {home}"
    assert_migrated(done, lost("destination"))


def test_a_destination_that_dies_in_the_baseline_leaves_the_guest_on_the_source(guest: Migrate) -> None:
    settings = {**COMMON, **DEMAND, "baseline_s": 5}
    done, (before, killed) = follow(lambda: guest(**settings), ("await", "baseline"), KILL_QEMU)
    assert before.module and killed.module, before
    assert killed.destination is None, killed
    assert done.returncode != 0
    assert "runs on the source" in done.stdout
    assert guests("destination") == []
    assert_on_the_source()


@attempts("early", only_long=("early",))  # test_ownership.py
def test_a_module_killed_before_the_switch_leaves_the_guest_on_the_source(guest: Migrate, moment: Moment) -> None:
    steps = ("await", "baseline"), KILL_MODULE
    done, (before, killed) = follow(lambda: guest(**moment.settings, baseline_s=30), *steps)
    assert before.module and not killed.module, before
    assert done.returncode != 0
    assert guests("destination") == ["vcsp-guest"], "the other half still waits"
    assert_on_the_source()
    again = guest(**{**moment.settings, "max_postcopy_bandwidth_mb_per_s": 0})
    assert_migrated(again)  # what the killed call left waiting is in the way of none


def test_a_destination_without_memory_is_refused_before_the_switch(guest: Migrate, tmp_path: Path) -> None:
    meminfo = Path("/proc/meminfo").read_text()
    scarce = re.sub(r"MemAvailable: +\d+ kB", "MemAvailable: 307200 kB", meminfo)
    on("destination", f"cat > /tmp/meminfo <<'END'\n{scarce}END\nmount --bind /tmp/meminfo /proc/meminfo")
    try:
        done = guest(**COMMON, **DEMAND)
    finally:
        on("destination", "umount /proc/meminfo; rm /tmp/meminfo")
    assert done.returncode != 0
    assert "the available memory on the destination leaves 300 MB" in done.stdout
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


def test_a_guest_suspended_in_the_baseline_has_the_blackout_of_the_switch_alone(guest: Migrate) -> None:
    virsh = "virsh -c qemu+ssh://root@source/system"
    pause = f"{virsh} suspend {GUEST} && sleep 1 && {virsh} resume {GUEST}"
    settings = {"transfer": "push", "window_mb": 8, "baseline_s": 8, "observation_s": 8}
    done, seen = follow(lambda: guest(**settings), ("await", "baseline"), ("run", pause))
    assert seen[-1].source in ("none", "completed"), "the migration had begun before the guest was resumed"
    assert done.returncode == 0, done.stdout
    returned = result(done)
    runs = [(e["name"], e["time_s"]) for e in returned["events"] if e["host"] == "source" and e["name"] in RUNS]
    assert [name for name, _time in runs] == ["STOP", "RESUME", "STOP"]
    measured = returned["measurements"]
    assert measured["stop_and_copy_ms"] == pytest.approx(-1000 * runs[-1][1], abs=0.01)
    completed = next(
        e["time_s"] for e in returned["events"] if e["data"].get("status") == "completed" and e["host"] == "destination"
    )
    assert measured["total_migration_time_s"] == pytest.approx(completed - runs[-1][1], abs=1e-4)
    paused_s = runs[1][1] - runs[0][1]
    told = re.search(
        r"the guest was paused for ([0-9.]+) s in the baseline", "\n".join(returned["validity"]["reasons"])
    )
    assert told, returned["validity"]["reasons"]
    assert float(told[1]) == pytest.approx(paused_s, abs=0.1), "the events are rounded, and so is what is told of them"
