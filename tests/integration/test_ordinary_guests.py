# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Guests that are not built for this collection: refused untouched, unless forced."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .conftest import ADDRESS, Done, guests, memory_verified, on

Migrate = Callable[..., Done]
SETTINGS = {"transfer": "push", "window_mb": 8}
DISK = "/var/lib/libvirt/own.img"


@pytest.fixture
def ordinary(guest: Migrate) -> Iterator[Migrate]:
    """The guest with a writable disk, of other content on each host, and a definition."""
    for host in ADDRESS:
        on(host, f"echo {host} > {DISK}; truncate -s 1M {DISK}")
    on("source", f"virsh attach-disk vcsp-guest {DISK} vdb --targetbus virtio --live")
    on("source", "virsh dumpxml vcsp-guest > /tmp/own.xml; virsh define /tmp/own.xml; rm /tmp/own.xml")
    yield guest
    for host in ADDRESS:
        on(host, f"virsh destroy vcsp-guest; virsh undefine vcsp-guest; rm -f {DISK}", check=False)


def test_an_ordinary_guest_is_refused_untouched(ordinary: Migrate) -> None:
    for check in (True, False):
        done = ordinary(check=check, **SETTINGS)
        assert done.returncode != 0
        for found in (f"writable disk vdb ({DISK})", "persistent definition", "virsh migrate", "force: true"):
            assert found in done.stdout, done.stdout
    assert guests("destination") == []
    assert "running" in on("source", "virsh", "domstate", "vcsp-guest")
    assert memory_verified("source")


@pytest.mark.long
def test_an_ordinary_guest_goes_when_forced(ordinary: Migrate) -> None:
    done = ordinary(force=True, verify=True, **SETTINGS)
    assert done.returncode == 0, done.stdout
    assert "running" in on("destination", "virsh", "domstate", "vcsp-guest")
    assert "shut off" in on("source", "virsh", "domstate", "vcsp-guest"), "the definition stays on the source"
