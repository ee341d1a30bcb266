# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Guests of other shapes than the scenarios': huge pages, several RAMBlocks, several vCPUs; every prefetch policy."""

from __future__ import annotations

import csv
import io
import re
import zlib
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import ADDRESS, migration_arguments, module, on, result, run_module

pytestmark = pytest.mark.long
HUGE_PAGES = Path("/proc/sys/vm/nr_hugepages")
HUGE_PAGE_BYTES = 2 << 20
WORKLOAD = {"window_mb": 64}
NUMA = (
    "<numa><cell id='0' cpus='0' memory='256' unit='MiB'/><cell id='1' cpus='1' memory='256' unit='MiB'/></numa></cpu>"
)


def shaped(xml: str, shape: str) -> str:
    """The XML of the scenarios' guest, changed."""
    if shape == "hugepages":
        return xml.replace("<vcpu", "<memoryBacking><hugepages/></memoryBacking><vcpu", 1)
    xml = re.sub(r"<vcpu[^>]*>1</vcpu>", "<vcpu>2</vcpu>", xml)
    return xml.replace("</cpu>", NUMA, 1) if shape == "two RAMBlocks" else xml


@pytest.fixture(scope="module")
def huge_pages(lab: Path) -> Iterator[None]:
    """A pool of huge pages for two guests, and both libvirtds told of it."""
    end = "old=$(pgrep -x libvirtd); kill $old; while [ -e /proc/$old ]; do sleep 0.1; done"
    restart = f"{end}; until virsh uri; do sleep 0.1; done"
    before = HUGE_PAGES.read_text()
    HUGE_PAGES.write_text("600")
    for host in ADDRESS:
        on(host, f"mkdir -p /dev/hugepages; mount -t hugetlbfs hugetlbfs /dev/hugepages; {restart}")
    yield
    for host in ADDRESS:
        on(host, f"virsh destroy vcsp-guest; umount /dev/hugepages; {restart}", check=False)
    HUGE_PAGES.write_text(before)


@pytest.fixture(scope="module", params=["hugepages", "two RAMBlocks", "two vCPUs"])
def shape(lab: Path, huge_pages: None, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A shape, and the directory of the saved states of a guest that has it."""
    state = on("source", "ls /var/lib/libvirt/vcsp/states/*/*/1/0008mb-sequential-w20.save").split()[0]
    xml = shaped(on("source", "virsh", "save-image-dumpxml", state, "--security-info"), request.param)
    directory = f"/var/lib/libvirt/vcsp/states/shape/{request.param.replace(' ', '-')}"
    module("source", "saved_guest", name="vcsp-guest", state="saved", directory=directory, xml=xml, workload=WORKLOAD)
    yield request.param, directory
    on("source", "rm", "-r", directory)


def requests(returned: dict[str, Any]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(zlib.decompress(b64decode(returned["files"]["requests.csv"])).decode())))


@pytest.mark.parametrize(
    "settings",
    [
        {"prefetch_pages": 1},
        {"prefetch_pages": 4},
        {"prefetch_pages": 4, "prefetch_policy": "around"},
        {"prefetch_pages": 2, "prefetch_policy": "readahead"},
        {"prefetch_pages": 4, "transfer": "push", "vcpu_quota_percent": 50},
        {"transfer": "push", "postcopy_preempt": True, "max_postcopy_bandwidth_mb_per_s": 60},
    ],
    ids=lambda settings: "-".join(str(value) for value in settings.values()),
)
def test_a_guest_of_another_shape_comes_whole(shape: tuple[str, str], settings: dict[str, Any]) -> None:
    name, directory = shape
    module("source", "saved_guest", name="vcsp-guest", state="running", directory=directory, workload=WORKLOAD)
    wanted = {"transfer": "demand", "window_mb": 64, "verify": True, "end_guest": True, **settings}
    done = run_module("destination", "postcopy_migration", **migration_arguments(**wanted))
    assert done.returncode == 0, done.stdout
    returned = result(done)
    assert returned["memory_verified"] is True
    assert returned["validity"]["reasons"] == []
    measured, waits = returned["measurements"], returned["instruments"]["schedstat"]["values"]["vcpu_page_wait_ms"]
    assert len(waits) == (2 if name == "two vCPUs" else 1)
    assert measured["downtime_ms"] == pytest.approx(measured["stop_and_copy_ms"] + sum(waits) / len(waits))
    sent = requests(returned)
    page_bytes = HUGE_PAGE_BYTES if name == "hugepages" else 4096
    assert {int(row["asked"]) for row in sent if row["block"]} == {page_bytes}
    assert all(int(row["sent"]) % page_bytes == 0 for row in sent if row["block"])
    if settings.get("prefetch_pages", 1) > 1:
        assert max(int(row["sent"]) for row in sent) >= 2 * page_bytes
    if name == "two RAMBlocks":
        assert len({row["block"] for row in sent if row["block"]}) == 2
