# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""libvirtd dies in post-copy, and then the guest ends: the module ends in time and says no more than it can know."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from .conftest import ADDRESS, Done, bpf_programs, guests, on, qemu_processes, result
from .faults import HOLD, LIBVIRTD, QEMU, Step
from .test_faults import AtMoment, Migrate, Moment, assert_hit
from .test_hangs import THROTTLED

TIMEOUT_S = 20
# Twice the time-out, two waits of 30 s for libvirtd; the rest is a slow machine's.
LIMIT_S = 2 * TIMEOUT_S + 2 * 30 + 60
PROGRAM = "/usr/sbin/libvirtd"
# The lab's services start it again, which fails as long as its program does.
DIE = f"mount --bind /bin/false {PROGRAM}; pkill -KILL -x libvirtd; while pgrep -x libvirtd; do sleep 0.1; done"
REVIVE = f"umount {PROGRAM}; until virsh uri; do sleep 0.1; done"
# Alt-SysRq-O has the guest's kernel power it off; where libvirtd is dead, QEMU's monitor is free for another client.
POWER_OFF = """
import glob, json, socket
monitor = socket.socket(socket.AF_UNIX)
monitor.connect(*glob.glob("/var/lib/libvirt/qemu/domain-*-vcsp-guest/monitor.sock"))
talk = monitor.makefile("rw")
keys = [dict(type="qcode", data=key) for key in ("alt", "sysrq", "o")]
for command in dict(execute="qmp_capabilities"), dict(execute="send-key", arguments=dict(keys=keys)):
    print(json.dumps(command), file=talk, flush=True)
for message in map(json.loads, talk):
    if message.get("event") == "SHUTDOWN":
        print("hit" if message["data"]["guest"] else message)
        break
"""
SEND_KEY = "virsh send-key vcsp-guest KEY_LEFTALT KEY_SYSRQ KEY_O"
ENDS = {
    ("destination", "powers off"): f"timeout 60 python3 -c '{POWER_OFF}'",
    ("source", "powers off"): f"{SEND_KEY} && while virsh domstate vcsp-guest; do sleep 0.1; done; echo hit",
    ("destination", "is killed"): QEMU,
    ("source", "is killed"): QEMU,
}
WAIT = "s=$(date +%s); while pgrep -x python3 >/dev/null; do sleep 0.1; done; echo $(($(date +%s) - s)) s"


@pytest.fixture(autouse=True)
def alive(guest: Migrate) -> Iterator[None]:
    """Both libvirtds run."""
    yield
    for host in ADDRESS:
        on(host, f"mountpoint -q {PROGRAM} && {REVIVE}", check=False)


def there(host: str, command: str) -> str:
    """The command as one of the destination's."""
    return command if host == "destination" else f"ssh root@source '{command}'"


def dead(host: str, end: str) -> Step:
    """Kills libvirtd on a host for good, and then the guest; prints how long the module goes on, and the quotas."""
    return "run", f"{THROTTLED}; {there(host, DIE)}; {ENDS[host, end]}; {WAIT}; {THROTTLED}; {there(host, REVIVE)}"


@pytest.mark.long
@pytest.mark.parametrize(
    ("host", "end"),
    [
        ("destination", "powers off"),
        ("destination", "is killed"),
        ("source", "powers off"),
        ("source", "is killed"),
    ],
)
def test_a_guest_that_ends_while_libvirtd_is_dead(guest: Migrate, at_moment: AtMoment, host: str, end: str) -> None:
    moment = Moment.draw(f"dead-{host}-{end}", 1)
    done, (held, ended) = at_moment(moment, HOLD, dead(host, end), timeout_s=TIMEOUT_S)
    assert_hit(held)
    seen = re.fullmatch(r"(?s)\d+\n.*\bhit\n(\d+) s\n.*\bnot throttled\n.*", ended.output)
    assert seen is not None and ended.destination is None, ended
    assert int(seen[1]) < LIMIT_S
    assert done.returncode != 0
    assert "It is unknown where the guest vcsp-guest is" in result(done)["msg"]
    assert "it was split over both hosts" in result(done)["msg"] and "destroy NEITHER" in result(done)["msg"]
    assert_lost(guest(**moment.settings), "has left the source" if ended.source == "completed" else "memory is lost")


def test_a_guest_that_ends_before_libvirtd_is_back(guest: Migrate, at_moment: AtMoment) -> None:
    moment = Moment.draw("restarted", 1)
    done, (held, ended) = at_moment(moment, HOLD, ("run", f"{LIBVIRTD}; {QEMU}"))
    assert_hit(held)
    assert ended.output.count("hit") == 2 and ended.destination is None, ended
    assert_lost(done, "memory is lost")


def assert_lost(done: Done, what: str) -> None:
    """The module says that nobody has the guest any more, and nothing is left but what its source had."""
    assert done.returncode != 0
    returned = result(done)
    assert returned["phase"] == "lost"
    assert what in returned["msg"] and "must not be resumed" in returned["msg"]
    assert guests("source") == ["vcsp-guest"] and guests("destination") == []
    assert "paused" in on("source", "virsh", "domstate", "vcsp-guest")
    assert bpf_programs() == set()
    assert qemu_processes() == 1
    assert on("destination", "pgrep 'python3|vcsp-'", check=False) == ""
    assert "vcsp-oob" not in on("destination", "ls /run")
