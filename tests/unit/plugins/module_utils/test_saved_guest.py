# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which guests may be destroyed and replaced: only ours."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._guest.saved_guest import (
    GuestError,
    Workload,
    is_ours,
    remove,
    restore,
)

OURS = "<domain><metadata><g:guest xmlns:g='https://github.com/vcsp/testbed/guest/1'/></metadata></domain>"


class Guest:
    """A domain that is nothing but its XML."""

    def __init__(self, xml: str) -> None:
        self.xml, self.alive = xml, True

    def XMLDesc(self) -> str:  # noqa: N802
        return self.xml

    def destroy(self) -> None:
        self.alive = False


def test_a_guest_with_the_mark_is_ours() -> None:
    assert is_ours(Guest(OURS))


@pytest.mark.parametrize(
    "xml",
    [
        "<domain/>",
        "<domain><metadata/></domain>",
        "<domain><metadata><guest/></metadata></domain>",
        "<domain><metadata><g:guest xmlns:g='https://example.org/guest/1'/></metadata></domain>",
        "<domain><g:guest xmlns:g='https://github.com/vcsp/testbed/guest/1'/></domain>",
        "<domain><description>&lt;guest xmlns='https://github.com/vcsp/testbed/guest/1'/&gt;</description></domain>",
    ],
)
def test_any_other_guest_is_left_alone(libvirt: SimpleNamespace, xml: str) -> None:
    guest = Guest(xml)
    assert not is_ours(guest)
    with pytest.raises(GuestError, match="choose another guest_name"):
        remove(SimpleNamespace(lookupByName=lambda _name: guest), "web1")
    assert guest.alive


def test_our_guest_is_destroyed_and_a_missing_one_is_no_error(libvirt: SimpleNamespace) -> None:
    def nobody(_name: str) -> Guest:
        raise libvirt.libvirtError(libvirt.VIR_ERR_NO_DOMAIN)

    guest = Guest(OURS)
    assert remove(SimpleNamespace(lookupByName=lambda _name: guest), "vcsp-guest") is True
    assert not guest.alive
    assert remove(SimpleNamespace(lookupByName=nobody), "vcsp-guest") is False


def test_a_missing_state_is_noticed_before_a_guest_is_destroyed(tmp_path: Path, libvirt: SimpleNamespace) -> None:
    guest = Guest(OURS)
    with pytest.raises(GuestError, match=r"run playbooks/guest\.yml"):
        restore(SimpleNamespace(lookupByName=lambda _name: guest), "vcsp-guest", tmp_path / "none.save")
    assert guest.alive


def test_every_workload_has_its_own_file() -> None:
    every = [Workload(mb, pattern, work) for mb in (8, 64) for pattern in ("sequential", "random") for work in (1, 10)]
    assert len({workload.file_name for workload in every}) == len(every)
    assert Workload(8, "random", 4).file_name == "0008mb-random-w4.save"
    assert Workload(8, "random", 4).command == "start 8 random 4"
