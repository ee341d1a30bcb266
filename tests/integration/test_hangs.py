# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A QEMU that hangs: the module still ends, obeys signals, lifts the quota, and says where the guest is.

What hangs is stopped by SIGSTOP until the module has ended; then it goes on, and a further call finds the guest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import ADDRESS, Done, bpf_programs, follow, on, result, wait_until
from .faults import CUT, HOLD, JOIN, LET_GO
from .test_faults import (
    COMMON,
    DEMAND,
    KILL_MODULE,
    AtMoment,
    Migrate,
    Moment,
    assert_hit,
    assert_home,
    assert_migrated,
    assert_on_the_source,
)

QEMU = "^[^ ]*qemu-system.*vcsp-guest"
TIMEOUT_S = 20
# Calls to libvirt are given up after 10 s, then after 3 s; the rest is a slow machine's.
GRACE_S = 45
# A limit of the vCPUs is in their own cgroups; prints each but for "none". A destination that only waited may be gone.
THROTTLED = f"""for tid in $(ls /proc/$(pgrep -f '{QEMU}')/task 2>/dev/null); do
    for path in $(cut -d: -f3 /proc/$tid/cgroup | sort -u); do
        cat /sys/fs/cgroup/cpu$path/cpu.cfs_quota_us /sys/fs/cgroup$path/cpu.max 2>/dev/null
    done
done | grep -v -e '^-1$' -e '^max ' || echo not throttled"""


def hang(host: str, before: str = "") -> tuple[str, Any]:
    """Stops QEMU on a host until the module has ended; prints how long that took, after and before it the quota."""

    def signal(name: str) -> str:
        command = f"pkill -{name} -f '{QEMU}'"
        return command if host == "destination" else f'ssh root@{host} "{command}"'

    wait = "s=$(date +%s); while pgrep -x python3 >/dev/null; do sleep 0.1; done; echo $(($(date +%s) - s)) s"
    return "run", f"{THROTTLED}; {signal('STOP')}; {before} {wait}; {THROTTLED}; {signal('CONT')}"


@pytest.fixture(autouse=True)
def going_on(lab: Any, guest: Migrate) -> Iterator[None]:
    """No QEMU stays stopped."""
    yield
    for host in ADDRESS:
        on(host, f"pkill -CONT -f '{QEMU}'", check=False)


def assert_ended(output: str, limit_s: float) -> None:
    """The module ended in time, and left no quota."""
    seen = re.fullmatch(r"\d+\n(\d+) s\nnot throttled\n", output)
    assert seen is not None, output
    assert int(seen[1]) < limit_s, output
    assert bpf_programs() == set()


TERMINATE = "sleep 3; pkill -TERM -x python3;"


@pytest.mark.parametrize(
    ("host", "ends_by"),
    [
        pytest.param("source", "deadline"),
        pytest.param("destination", "SIGTERM", marks=pytest.mark.long),
        pytest.param("source", "SIGTERM", marks=pytest.mark.long),
        pytest.param("destination", "deadline", marks=pytest.mark.long),
    ],
)
def test_a_qemu_that_hangs_in_post_copy(guest: Migrate, at_moment: AtMoment, host: str, ends_by: str) -> None:
    moment = Moment.draw(f"hang-{host}-{ends_by}", 1)
    in_time = ends_by == "deadline"
    stopped = hang(host, "" if in_time else TERMINATE)
    done, (held, hung) = at_moment(moment, HOLD, stopped, timeout_s=TIMEOUT_S if in_time else 300)
    assert held.split and held.module, f"the fault missed post-copy: {held}"
    assert_ended(hung.output, GRACE_S + TIMEOUT_S if in_time else GRACE_S)
    assert done.returncode != 0
    said = result(done)["msg"]
    assert f"the {host}'s libvirt or QEMU does not answer" in said
    assert "it was split over both hosts" in said and "destroy NEITHER" in said
    again = guest(**{**moment.settings, "verify": False})
    assert again.returncode == 0, again.stdout
    assert result(again)["taken_over"] is True
    assert_home()


@pytest.mark.long
@pytest.mark.parametrize("host", ["destination", "source"])
def test_a_qemu_that_hangs_before_the_switch(guest: Migrate, host: str) -> None:
    settings = {**COMMON, **DEMAND, "baseline_s": 60, "timeout_s": TIMEOUT_S}
    steps = ("await", "baseline"), hang(host, TERMINATE)
    done, (before, hung) = follow(lambda: guest(**settings), *steps)
    assert before.module, before
    assert_ended(hung.output, GRACE_S)
    assert done.returncode != 0
    assert_on_the_source()
    again = guest(**{**settings, "baseline_s": 0, "timeout_s": 300, "max_postcopy_bandwidth_mb_per_s": 0})
    assert_migrated(again)


def monitor(command: str, uri: str = "qemu:///system", **arguments: Any) -> str:
    """A shell command on the destination that runs one of QEMU's, through libvirt."""
    return (
        f"virsh -c {uri} qemu-monitor-command vcsp-guest '{json.dumps({'execute': command, 'arguments': arguments})}'"
    )


# Reads memory that has not arrived, which stops QEMU's main loop.
FAULT = monitor("pmemsave", val=0, size=256 << 20, filename="/dev/null")


PROBE = f"timeout 5 {monitor('query-status')} > /dev/null 2>&1"
# Asked again if libvirt refused it, and not for ever, lest the link stays cut.
HANG = (
    "fault=none; for _ in $(seq 100); do "
    f"kill -0 $fault 2>/dev/null || {{ {FAULT} > /run/fault.out 2>&1 & fault=$!; }}; {PROBE} || break; sleep 0.1; "
    "done; cat /run/fault.out"
)


def test_a_main_loop_that_waits_for_memory_while_the_link_is_cut(at_moment: AtMoment) -> None:
    moment = Moment.draw("fault", 1)
    # Time for the module to see it, too.
    fault = f"{HANG}; sleep 20; {PROBE} || echo hangs; {JOIN[1]}"
    done, seen = at_moment(moment, HOLD, CUT, ("run", fault), LET_GO, stall_timeout_s=3)
    held, cut, faulted, _let_go = seen
    assert_hit(held, cut)
    assert "hangs" in faulted.output, f"the destination's main loop did not hang: {faulted}"
    assert done.returncode == 0, done.stdout
    recoveries = result(done)["recoveries"]
    assert recoveries > 0
    assert_migrated(done, f"the migration stalled and was recovered {recoveries} times")


@pytest.mark.long
def test_a_main_loop_that_waits_for_memory_is_recovered_by_a_later_call(guest: Migrate) -> None:
    settings = Moment.draw("fault-later", 1).settings
    broken = monitor("migrate-pause", uri="qemu+ssh://root@source/system")
    fault = f"{HANG}; {KILL_MODULE[1]}; {broken}; {JOIN[1]}; {PROBE} || echo hangs"

    def twice() -> Done:
        guest(**settings)
        return guest(**{**settings, "verify": False})

    done, (held, cut, faulted) = follow(twice, ("arrived", 8 << 20), CUT, ("run", fault))
    assert_hit(held, cut)
    assert "hangs" in faulted.output, f"the destination's main loop did not hang: {faulted}"
    assert done.returncode == 0, done.stdout
    returned = result(done)
    assert returned["taken_over"] is True and returned["recoveries"] > 0
    assert_home()


@pytest.mark.long
def test_a_destination_stopped_while_paused(at_moment: AtMoment) -> None:
    moment = Moment.draw("stop", 1)
    # Where the monitor waits for a virtual processor to stop, which waits for memory, this goes on once that is there.
    stop = f"(({monitor('stop')}; {monitor('cont')}) > /dev/null 2>&1 &); sleep 5"
    steps = HOLD, CUT, LET_GO, ("await", "paused"), ("run", f"{stop}; {JOIN[1]}")
    done, seen = at_moment(moment, *steps, stall_timeout_s=3, verify=False)
    held, cut = seen[:2]
    assert_hit(held, cut)
    assert done.returncode == 0, done.stdout
    assert result(done)["recoveries"] > 0
    wait_until(lambda: "running" in on("destination", "virsh", "domstate", "vcsp-guest"), 60, "the guest to run again")
    assert_home()
