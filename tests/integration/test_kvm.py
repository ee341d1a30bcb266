# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Real migrations of a bare guest under KVM, wherever the lab's KVM runs it: without hardware behind it, too.

The guest is given work instead of a rate, which it does not hold on a busy machine, and no test depends on its speed.
"""

from __future__ import annotations

import csv
import io
import zlib
from base64 import b64decode
from typing import Any

import jinja2
import pytest
from ansible.plugins.filter.core import FilterModule

from .conftest import ADDRESS, ROOT, Done, guests, migration_arguments, module, on, result, run_module

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

# Until it has passed in a row on machines of several speeds, it does not decide about every change.
pytestmark = pytest.mark.long


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


def domain_xml(cpu_xml: str) -> str:
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
        guest_vcpus=1,
    )


def start(xml: str) -> None:
    """Boot a guest on the source and start its walk."""
    workload = {"window_mb": WINDOW_MB, "work_per_page": 1}
    module("source", "saved_guest", name=GUEST, state="running", xml=xml, workload=workload)


def end() -> None:
    for host in ("destination", "source"):
        on(host, "virsh", "destroy", GUEST, check=False)


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
        # Some of the window comes with the push, even while it is held.
        assert count[one] >= 0.7 * WINDOW_PAGES
        assert count[ten] < 0.3 * count[one]


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
        assert wait_ms <= 1.1 * stalls["stall_ms"], name
        assert stalls["stalls"] >= 0.9 * by_method[name]["measurements"]["page_requests"], name
