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
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import Any

import jinja2
import pytest
from ansible.plugins.filter.core import FilterModule

from . import test_faults, test_migration
from .conftest import ADDRESS, ROOT, Done, guests, migration_arguments, module, on, result, run_module

Migrate = Callable[..., Done]
IMAGE = "/var/lib/libvirt/images/vcsp"
GUEST = "vcsp-guest"
METHODS: dict[str, dict[str, Any]] = {
    "post-copy": {},
    "post-copy-prefetching": {"prefetch_pages": 10},
    "vcsp": {"vcpu_quota_percent": 50},
    "vcsp-prefetching": {"vcpu_quota_percent": 50, "prefetch_pages": 10},
}
WINDOW_MB = 8
WINDOW_PAGES = WINDOW_MB * 256
# So much for every page, and post-copy lasts long enough to be hit by a fault at any speed.
LARGE_WINDOW_MB = 32
DIRTY_RING = "<kvm><dirty-ring state='on' size='4096'/></kvm>"
RING_BYTES = 4096 * 16  # struct kvm_dirty_gfn
ASYNC_PF = 1 << 4  # KVM_FEATURE_ASYNC_PF, in the leaf and register below
KVM_FEATURES = (0x40000001, "EAX")


@pytest.fixture(scope="module")
def cpu_xml(lab: object) -> str:
    """The CPU model with which KVM runs the bare guest; skips where it does not."""
    for host in ADDRESS:
        # As playbooks/guest.yml has asked before, so that the answer is known.
        info = module(host, "testbed_info", rom=f"{IMAGE}/bare.rom", kernel=f"{IMAGE}/vmlinuz")["info"]
        found = info["kvm"]["bare"]
        assert found["usable"] is not None, found["reason"]
        if not found["usable"]:
            pytest.skip(f"KVM does not run the bare guest on the {host}: {found['reason']}")
    return str(found["cpu_xml"])


def domain_xml(cpu_xml: str, vcpus: int = 1) -> str:
    """The XML that the role guest makes."""
    loader = jinja2.FileSystemLoader(ROOT / "roles/guest/templates")
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True)
    filters = FilterModule().filters().items()
    environment.filters |= {f"ansible.builtin.{name}": function for name, function in filters}
    return environment.get_template("domain.xml.j2").render(
        guest_system="bare",
        guest_accelerator="kvm",
        guest_cpu_xml=cpu_xml,
        guest_image_path=IMAGE,
        guest_name=GUEST,
        guest_memory_mb=64,
        guest_vcpus=vcpus,
    )


def start(xml: str, window_mb: int = WINDOW_MB) -> None:
    """Boot a guest on the source and start its walk."""
    workload = {"window_mb": window_mb, "work_per_page": 1}
    module("source", "saved_guest", name=GUEST, state="running", xml=xml, workload=workload)


def end() -> None:
    for host in ("destination", "source"):
        on(host, "virsh", "destroy", GUEST, check=False)


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
    end()


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
        end()
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


def features(host: str) -> int:
    """KVM's features that the guest's CPU has there, as QEMU has set them in KVM."""

    def qmp(command: str, **arguments: str) -> Any:
        request = shlex.quote(json.dumps({"execute": command, "arguments": arguments}))
        return json.loads(on(host, f"virsh qemu-monitor-command {GUEST} {request}"))["return"]

    cpu = qmp("query-cpus-fast")[0]["qom-path"]
    words = qmp("qom-get", path=cpu, property="feature-words")
    (word,) = (w["features"] for w in words if (w["cpuid-input-eax"], w["cpuid-register"]) == KVM_FEATURES)
    return int(word)


@pytest.mark.long
def test_kvm_has_no_asynchronous_page_faults(guest: Migrate, cpu_xml: str) -> None:
    assert not features("source") & ASYNC_PF
    migrated(guest(transfer="push", verify=True))
    assert not features("destination") & ASYNC_PF
    end()
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
        end()
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
        end()


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
