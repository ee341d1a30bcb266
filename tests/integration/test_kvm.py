# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Real migrations of a bare guest under KVM, wherever the lab's KVM runs it: without hardware behind it, too.

The guest is given work instead of a rate, which it does not hold on a busy machine, and no test depends on its speed.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
import time
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from . import bare, test_faults, test_migration
from .bare import domain_xml, start
from .conftest import ADDRESS, Done, end_guests, guests, migration_arguments, module, on, result, run_module

Migrate = Callable[..., Done]
GUEST = "vcsp-guest"
METHODS: dict[str, dict[str, Any]] = {
    "post-copy": {},
    "post-copy-prefetching": {"prefetch_pages": 10},
    "vcsp": {"vcpu_quota_percent": 50},
    "vcsp-prefetching": {"vcpu_quota_percent": 50, "prefetch_pages": 10},
}
WINDOW_MB = bare.WINDOW_MB
WINDOW_PAGES = WINDOW_MB * 256
# So much for every page, and post-copy lasts long enough to be hit by a fault at any speed.
LARGE_WINDOW_MB = 32
DIRTY_RING = "<kvm><dirty-ring state='on' size='4096'/></kvm>"
RING_BYTES = 4096 * 16  # struct kvm_dirty_gfn
ASYNC_PF = 1 << 4  # KVM_FEATURE_ASYNC_PF, in the leaf and register below
KVM_FEATURES = (0x40000001, "EAX")
# One that every KVM offers to its guests.
FEATURE = "erms"
# Of testbed_info: no kernel, whose time limit is long, and what is kept stays as it is.
BARE_ONLY = {"kernel": "/nonexistent/vmlinuz", "cache": "/nonexistent/accelerator.json"}
INFLATE = "python3 -c 'import sys, zlib; sys.stdout.buffer.write(zlib.decompress(sys.stdin.buffer.read()))'"


@pytest.fixture(scope="module")
def cpu_xml(lab: object) -> str:
    """The CPU model with which KVM runs the bare guest; skips where it does not."""
    try:
        return bare.cpu_xml()
    except bare.NoKvm as error:
        pytest.skip(str(error))


@pytest.fixture
def window_mb() -> int:
    return WINDOW_MB


@pytest.fixture
def whole_bytes(window_mb: int) -> int:
    """Bytes that a migration sends: next to nothing but the window."""
    return window_mb << 20


@pytest.fixture
def guest(cpu_xml: str, window_mb: int) -> Iterator[Migrate]:
    """A bare guest under KVM on the source, and a way to migrate it, as conftest's for Debian."""
    start(domain_xml(cpu_xml), window_mb)

    def migrate(check: bool = False, **settings: Any) -> Done:
        if "window_mb" in settings:
            settings["window_mb"] = window_mb
        return run_module("destination", "postcopy_migration", check=check, **migration_arguments(**settings))

    yield migrate
    end_guests()


def migrated(done: Done) -> dict[str, Any]:
    """What a migration that must have succeeded returned."""
    assert done.returncode == 0, done.stdout
    returned = result(done)
    assert returned["validity"]["reasons"] == []
    assert returned["memory_verified"] is True
    return returned


@pytest.fixture(scope="module")
def by_method(cpu_xml: str) -> dict[str, dict[str, Any]]:
    """Method -> what its migration returned, and under ``kvm`` what QEMU said of KVM on the source."""
    found = {}
    try:
        for name, method in METHODS.items():
            start(domain_xml(cpu_xml))
            said = on("source", f"virsh qemu-monitor-command {GUEST} --hmp 'info kvm'").strip()
            settings = {**method, "transfer": "demand", "window_mb": WINDOW_MB, "verify": True, "end_guest": True}
            found[name] = {
                **migrated(run_module("destination", "postcopy_migration", **migration_arguments(**settings))),
                "kvm": said,
            }
    finally:
        end_guests()
    return found


def requests(returned: dict[str, Any]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(zlib.decompress(b64decode(returned["files"]["requests.csv"])).decode())))


def test_every_method_migrates_it_and_loses_no_page(by_method: dict[str, dict[str, Any]]) -> None:
    for name, returned in by_method.items():
        assert returned["kvm"] == "kvm support: enabled"
        assert returned["measurements"]["downtime_ms"] > 0, name
        assert returned["measurements"]["page_requests"] > 0, name
    assert guests("source") == guests("destination") == []


def test_prefetching_needs_a_fraction_of_the_requests(by_method: dict[str, dict[str, Any]]) -> None:
    count = {name: returned["measurements"]["page_requests"] for name, returned in by_method.items()}
    for one, ten in (("post-copy", "post-copy-prefetching"), ("vcsp", "vcsp-prefetching")):
        # Not a tenth: the slower the machine, the more of the window comes with the push, even while it is held.
        assert count[ten] < 0.5 * count[one], count


def test_the_trace_has_each_request_as_asked_and_as_sent(by_method: dict[str, dict[str, Any]]) -> None:
    for name, returned in by_method.items():
        rows = [row for row in requests(returned) if row["block"] == "pc.ram"]
        pages = METHODS[name].get("prefetch_pages", 1)
        assert {int(row["asked"]) for row in rows} == {4096}
        sent = [int(row["sent"]) for row in rows]
        assert max(sent) == pages * 4096
        assert min(sent) >= 4096  # less than asked for only at the block's end
        assert sum(size == pages * 4096 for size in sent) > 0.9 * len(sent)


def test_the_quota_holds_kvms_threads(by_method: dict[str, dict[str, Any]]) -> None:
    throttled = {name: returned["measurements"]["throttled_ms"] for name, returned in by_method.items()}
    assert throttled["vcsp"] > 0 and throttled["vcsp-prefetching"] > 0
    assert throttled["post-copy"] is None


def test_three_instruments_see_the_same_waits(by_method: dict[str, dict[str, Any]]) -> None:
    """Each sees a part of the next one: QEMU's from when its thread saw the fault, the guest's with its own turns."""
    for name in ("post-copy", "post-copy-prefetching"):
        instruments = by_method[name]["instruments"]
        wait_ms = instruments["schedstat"]["values"]["page_wait_ms"]
        qemu_ms = instruments["qemu_blocktime"]["values"]["postcopy_blocktime"]
        stalls = instruments["guest_stalls"]["values"]
        assert 0 < qemu_ms <= 1.1 * wait_ms, name
        assert stalls["stalls"] >= 0.9 * by_method[name]["measurements"]["page_requests"], name
        # The walk does not see the guest wait for the dozen pages that are not its own, which matters where the window
        # comes in a few hundred requests.
        assert name == "post-copy-prefetching" or wait_ms <= 1.2 * stalls["stall_ms"]


def test_visits_are_timed_across_the_switch(by_method: dict[str, dict[str, Any]]) -> None:
    for name, returned in by_method.items():
        times = returned["instruments"]["visit_times"]["values"]
        assert sum(times["histogram"].values()) == times["visits"] >= WINDOW_PAGES / 2, name
        assert times["p50_us"] <= times["p99_us"] <= times["p99_9_us"] <= 2000 * times["longest_ms"], name
        stalls = returned["instruments"]["guest_stalls"]["values"]
        assert times["longest_ms"] >= stalls["stall_ms"] / stalls["stalls"], name


@pytest.mark.long
def test_a_quota_is_in_force_in_post_copy_and_lifted_at_its_end(guest: Migrate) -> None:
    test_migration.test_a_quota_is_in_force_in_post_copy_and_lifted_at_its_end(guest)


def qmp(host: str, command: str, **arguments: str) -> Any:
    """What the guest's QEMU returns there."""
    request = shlex.quote(json.dumps({"execute": command, "arguments": arguments}))
    return json.loads(on(host, f"virsh qemu-monitor-command {GUEST} {request}"))["return"]


def cpu_property(host: str, name: str) -> Any:
    """What the guest's first CPU has there, as QEMU has set it in KVM."""
    return qmp(host, "qom-get", path=qmp(host, "query-cpus-fast")[0]["qom-path"], property=name)


def features(host: str) -> int:
    """KVM's features that the guest's CPU has there."""
    words = cpu_property(host, "feature-words")
    (word,) = (w["features"] for w in words if (w["cpuid-input-eax"], w["cpuid-register"]) == KVM_FEATURES)
    return int(word)


@pytest.mark.long
def test_kvm_has_no_asynchronous_page_faults(guest: Migrate, cpu_xml: str) -> None:
    assert not features("source") & ASYNC_PF
    migrated(guest(transfer="push", verify=True))
    assert not features("destination") & ASYNC_PF
    end_guests()
    start(domain_xml(cpu_xml).replace("kvm-asyncpf=off", "kvm-asyncpf=on"))
    assert features("source") & ASYNC_PF, "this KVM has none, so nothing was switched off"


@pytest.mark.long
@pytest.mark.parametrize("vcpus", [2, 4])
def test_several_vcpus_come_whole(cpu_xml: str, vcpus: int) -> None:
    start(domain_xml(cpu_xml, vcpus))
    try:
        settings = {"transfer": "demand", "window_mb": WINDOW_MB, "prefetch_pages": 10, "verify": True}
        returned = migrated(run_module("destination", "postcopy_migration", **migration_arguments(**settings)))
    finally:
        end_guests()
    waits = returned["instruments"]["schedstat"]["values"]["vcpu_page_wait_ms"]
    assert len(waits) == vcpus
    assert all(wait > 0 for wait in waits)


@pytest.mark.long
def test_a_dirty_ring_loses_no_page(cpu_xml: str) -> None:
    xml = domain_xml(cpu_xml).replace("<apic/>", f"<apic/>{DIRTY_RING}")
    start(xml)
    try:
        maps = on("source", "grep kvm-vcpu /proc/$(pgrep -x qemu-system-x86)/maps").splitlines()
        sizes = [int(high, 16) - int(low, 16) for low, high in (line.split()[0].split("-") for line in maps)]
        assert RING_BYTES in sizes, maps
        settings = {"transfer": "demand", "window_mb": WINDOW_MB, "prefetch_pages": 10, "verify": True}
        migrated(run_module("destination", "postcopy_migration", **migration_arguments(**settings)))
    finally:
        end_guests()


@pytest.mark.long
def test_hosts_that_differ_migrate_on_their_baseline(cpu_xml: str) -> None:
    own = bare.kvm("source")["host_cpu"]
    root = ElementTree.fromstring(own)
    (lacking,) = root.findall(f"feature[@name='{FEATURE}'][@policy='require']")
    lacking.set("policy", "disable")
    of_both = [own, ElementTree.tostring(root, "unicode")]
    found = {host: bare.kvm(host, host_cpus=of_both, **BARE_ONLY)["bare"] for host in ADDRESS}
    assert found["source"]["cpu"] == found["destination"]["cpu"] == "libvirt's baseline"
    baseline = found["source"]["cpu_xml"]
    assert found["destination"]["cpu_xml"] == baseline
    try:
        start(domain_xml(cpu_xml))
        assert cpu_property("source", FEATURE) is True, "the hosts do have what one of them is said to lack"
        start(domain_xml(baseline))
        assert cpu_property("source", FEATURE) is False
        settings = {"transfer": "demand", "window_mb": WINDOW_MB, "verify": True}
        migrated(run_module("destination", "postcopy_migration", **migration_arguments(**settings)))
        assert cpu_property("destination", FEATURE) is False
    finally:
        end_guests()
    stranger = "<cpu><model>EPYC</model><vendor>AMD</vendor></cpu>"
    if "Intel" in own:
        refused = bare.kvm("source", host_cpus=[own, stranger], **BARE_ONLY)["bare"]
        assert refused["usable"] is False
        assert "CPU vendors do not match" in refused["reason"]


# Bad input.


def rom(text: str) -> bytes:
    """One that says so on the serial port and halts, in the 16-bit mode that a processor begins in."""
    say = b"\xba\xf8\x03" + b"".join(b"\xb0" + bytes([letter]) + b"\xee" for letter in text.encode())
    code = say + b"\xf4\xeb\xfd"  # mov dx, 0x3f8; (mov al, LETTER; out dx, al) ...; hlt; jmp back
    # From the reset vector, 16 bytes before the end, a jump to the ROM's last 256.
    jump = b"\xe9" + (0xFF00 - 0xFFF3 & 0xFFFF).to_bytes(2, "little")
    return (bytes(0xFF00) + code).ljust(0xFFF0, b"\x90") + jump.ljust(16, b"\x90")


@pytest.mark.long
def test_a_rom_that_does_not_start_costs_its_time_limit_and_shows_its_console(cpu_xml: str) -> None:
    path, said = "/run/broken.rom", "out of luck"
    on("source", f"echo {b64encode(zlib.compress(rom(said))).decode()} | base64 -d | {INFLATE} > {path}")
    started = time.monotonic()
    found = bare.kvm("source", rom=path, **BARE_ONLY)["bare"]
    assert time.monotonic() - started < 15
    assert found["usable"] is False
    assert f"it did not come up in 5 s, but said: {said}" in found["reason"]
    started = time.monotonic()
    workload = {"window_mb": WINDOW_MB, "work_per_page": 1}
    xml = domain_xml(cpu_xml).replace(f"{bare.image()}/bare.rom", path)
    done = run_module(
        "source", "saved_guest", name=GUEST, state="running", xml=xml, workload=workload, boot_timeout_s=3
    )
    assert time.monotonic() - started < 15
    assert done.returncode != 0
    assert f"did not boot within 3 s; its console /var/log/libvirt/{GUEST}-console.log ends with: {said}" in done.stdout
    assert guests("source") == []


@pytest.mark.long
def test_a_saved_state_made_with_a_cpu_that_the_host_lacks_is_refused(cpu_xml: str) -> None:
    """As on a host that has got another processor; the state says which CPU it is of."""
    directory, workload = "/var/lib/libvirt/vcsp/of-another-cpu", {"window_mb": WINDOW_MB, "work_per_page": 1}
    arguments = {"name": GUEST, "directory": directory, "workload": workload}
    try:
        saved = module("source", "saved_guest", state="saved", xml=domain_xml(cpu_xml), **arguments)
        module("source", "saved_guest", state="running", **arguments)
        # No processor that KVM runs on has this one, and the names are of one length.
        on("source", f"sed -i \"s/name='{FEATURE}'/name='ia64'/\" {saved['path']}")
        done = run_module("source", "saved_guest", state="running", **arguments)
    finally:
        end_guests()
        on("source", f"rm -rf {directory}")
    assert done.returncode != 0
    assert "cannot be restored" in done.stdout
    assert "ia64" in done.stdout
    assert "delete it and run playbooks/guest.yml" in done.stdout
    assert guests("source") == []


# Faults, once each, as test_faults.py has them for Debian.


@pytest.mark.long
@pytest.mark.parametrize("window_mb", [LARGE_WINDOW_MB])
def test_a_link_cut_until_the_watchdog_recovers(at_moment: test_faults.AtMoment) -> None:
    moment = test_faults.Moment.draw("cut-recover", 0)
    test_faults.test_a_link_cut_until_the_watchdog_recovers(at_moment, moment)


@pytest.mark.long
@pytest.mark.parametrize("window_mb", [LARGE_WINDOW_MB])
def test_the_module_is_killed_and_called_again(guest: Migrate, at_moment: test_faults.AtMoment) -> None:
    moment = test_faults.Moment.draw("KILL", 0)
    test_faults.test_the_module_is_killed_and_called_again(guest, at_moment, moment)


@pytest.mark.long
@pytest.mark.parametrize("window_mb", [LARGE_WINDOW_MB])
def test_a_destination_that_dies_in_post_copy_is_lost(guest: Migrate, at_moment: test_faults.AtMoment) -> None:
    moment = test_faults.Moment.draw("lost", 0)
    test_faults.test_a_destination_that_dies_in_post_copy_is_reported_as_lost(guest, at_moment, moment)
