# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A guest that writes to a disk and talks over a network card all the time, for faults that only devices have.

Its disk is a sparse file on each host, with nothing in it that matters; its network is QEMU's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import (
    ADDRESS,
    Done,
    bpf_programs,
    follow,
    guests,
    migration_arguments,
    module,
    on,
    records,
    result,
    run_module,
)
from .faults import CUT, HOLD, JOIN, LET_GO
from .test_faults import COMMON, PUSH, Migrate, Moment, assert_hit, assert_home, assert_migrated
from .test_hangs import PROBE

FOLDER = "/var/lib/libvirt/busy"
STATE = "/var/lib/libvirt/vcsp/states/busy/devices"
WORKLOAD = {"window_mb": 8}
MAC = "52:54:00:12:34:56"
# Read by the guest from a disk of its own. It begins with the workload: a guest is saved once it is idle.
LOAD = r"""
sleep 5 until (() = glob "/proc/" . (`pidof vcsp-workload` =~ s/\s//gr) . "/task/*") > 1;
my $mac = "MAC" =~ s/://gr;
sysopen my $disk, "/dev/vdc", 1 | 0x101000;  # O_WRONLY | O_SYNC
socket my $card, 17, 3, 0;  # AF_PACKET, SOCK_RAW
ioctl $card, 0x8914, my $up = pack "a16 s x22", "eth0", 0x41;  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
open my $file, "/sys/class/net/eth0/ifindex";
my $to = pack "S n i S C C a8", 17, 0x806, scalar <$file>, 1, 0, 6, "\xff" x 6;
# Who has 10.0.2.2? QEMU answers, and so writes to the guest's memory.
my $ask = pack "H12 H12 n n n C C n H12 N x6 N x900",
    "f" x 12, $mac, 0x806, 1, 0x800, 6, 4, 1, $mac, 0x0a00020f, 0x0a000202;
while (1) {
    send $card, $ask, 0, $to;
    sysseek $disk, 65536 * int rand 1024, 0;
    syswrite $disk, "x" x 65536;
    select undef, undef, undef, 0.02;
}
__END__
""".replace("MAC", MAC)
DEVICES = f"""
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{FOLDER}/load'/>
    <target dev='vdb' bus='virtio'/><readonly/></disk>
<disk type='file' device='disk'><driver name='qemu' type='raw' error_policy='stop'/><source file='{FOLDER}/disk'/>
    <target dev='vdc' bus='virtio'/></disk>
<interface type='user'><mac address='{MAC}'/><model type='virtio'/></interface>
"""
# systemd-run-generator(8) makes a unit of the command, which the guest's own default target does not want.
OPTIONS = 'net.ifnames=0 systemd.run="/usr/bin/perl /dev/vdb" systemd.wants=kernel-command-line.service'
# Whoever talks to this port of the destination talks to the guest: each packet goes into the next buffer that the guest
# had given to its card, most of them before it migrated.
PORT = 5555
FORWARD = f"virsh qemu-monitor-command --hmp vcsp-guest 'hostfwd_add hostnet0 udp:127.0.0.1:{PORT}-10.0.2.15:9'"
TALK = f"timeout 60 bash -c 'while :; do echo > /dev/udp/127.0.0.1/{PORT}; sleep 0.05; done'"
# A file system without room for the disk's contents.
FULL = f"mount -t tmpfs -o size=16k tmpfs {FOLDER}"


@pytest.fixture(scope="module")
def saved(lab: Path) -> Iterator[str]:
    """The folder of the saved states of such a guest."""
    for host in ADDRESS:
        make_disks(host)
    state = on("source", "ls /var/lib/libvirt/vcsp/states/*/*/1/0008mb-sequential-w20.save").split()[0]
    xml = on("source", "virsh", "save-image-dumpxml", state, "--security-info")
    xml = xml.replace("</cmdline>", f" {OPTIONS}</cmdline>").replace("</devices>", f"{DEVICES}</devices>")
    module("source", "saved_guest", name="vcsp-guest", state="saved", directory=STATE, xml=xml, workload=WORKLOAD)
    yield STATE
    on("source", f"rm -r {STATE}")
    for host in ADDRESS:
        on(host, f"rm -r {FOLDER}")


def make_disks(host: str) -> None:
    on(host, f"mkdir -p {FOLDER}; truncate -s 64M {FOLDER}/disk; cat > {FOLDER}/load <<'END'\n{LOAD}END")
    on(host, f"truncate -s 64K {FOLDER}/load")


@pytest.fixture
def busy(saved: str) -> Iterator[Callable[..., Done]]:
    """The guest at work on the source, and a way to migrate it."""
    module("source", "saved_guest", name="vcsp-guest", state="running", directory=saved, workload=WORKLOAD)

    def migrate(**settings: Any) -> Done:
        return run_module("destination", "postcopy_migration", **migration_arguments(force=True, **settings))

    yield migrate
    on("destination", JOIN[1])
    for host in ("destination", "source"):
        on(host, "virsh", "destroy", "vcsp-guest", check=False)


@pytest.fixture
def full(saved: str) -> Iterator[None]:
    """The destination has no room for what the guest writes."""
    on("destination", FULL)
    make_disks("destination")
    yield
    on("destination", f"umount {FOLDER}")


@pytest.mark.long
def test_a_guest_whose_disk_is_full_on_the_destination_arrives_stopped(full: None, busy: Migrate) -> None:
    stops = "until virsh domstate vcsp-guest --reason | grep I/O; do sleep 0.1; done"
    steps = ("await", "post-copy"), HOLD, ("run", stops), CUT, LET_GO, ("await", "paused"), JOIN
    done, seen = follow(lambda: busy(**{**COMMON, **PUSH, "stall_timeout_s": 3}), *steps)
    print(*seen, sep="\n")
    _split, held, stopped, cut = seen[:4]
    assert_hit(held, stopped, cut)
    assert "I/O" in stopped.output
    assert done.returncode != 0
    returned = result(done)
    assert returned["phase"] == "completed"
    assert "is on the destination but not running (io-error): find out why, then resume it" in returned["msg"]
    assert guests("source") == []
    assert bpf_programs() == set()
    assert "I/O" in on("destination", "virsh domstate vcsp-guest --reason")
    on("destination", f"mount -o remount,size=128m {FOLDER}; virsh resume vcsp-guest")
    assert_home()


@pytest.mark.long
def test_a_main_loop_that_waits_for_its_devices_memory_while_the_link_is_cut(lab: Path, busy: Migrate) -> None:
    moment = Moment.draw("devices", 1)
    whole_bytes = 1024 * records(lab)["post-copy"]["measurements"]["sent_kb"]
    # Time for the module to see it, too.
    hangs = f"({TALK}) & while {PROBE} && kill -0 $!; do sleep 0.1; done; sleep 20; {PROBE} || echo hangs; {JOIN[1]}"
    steps = ("arrived", round(moment.share * whole_bytes)), HOLD, ("run", FORWARD), CUT, ("run", hangs), LET_GO
    done, (_arrived, held, forwarded, cut, hung, _let_go) = follow(
        lambda: busy(**{**moment.settings, "stall_timeout_s": 3}), *steps
    )
    assert_hit(held, cut)
    assert forwarded.output.strip() == "", forwarded.output
    assert "hangs" in hung.output, "the destination's main loop did not hang"
    assert done.returncode == 0, done.stdout
    recoveries = result(done)["recoveries"]
    assert recoveries > 0
    assert_migrated(done, f"the migration stalled and was recovered {recoveries} times")
