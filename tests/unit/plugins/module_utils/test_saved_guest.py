# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which guests may be destroyed and replaced: only ours."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._guest.saved_guest import (
    GuestError,
    Workload,
    check_make,
    check_restore,
    is_ours,
    remove,
    restore,
)

OURS = "<domain><metadata><g:guest xmlns:g='https://github.com/vcsp/testbed/guest/1'/></metadata></domain>"


class Guest:
    """A domain that is nothing but its XML."""

    def __init__(self, xml: str) -> None:
        self.xml, self.alive = xml, True

    def UUIDString(self) -> str:  # noqa: N802
        return "00000000-0000-0000-0000-000000000000"

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


class Host:
    """A host without guests that restores states in some ways only.

    :param flags: those of these ways.
    """

    def __init__(self, libvirt: SimpleNamespace, *flags: int) -> None:
        self._libvirt, self._flags = libvirt, flags
        self.tried: list[int] = []

    def lookupByName(self, _name: str) -> Any:  # noqa: N802
        raise self._libvirt.libvirtError(self._libvirt.VIR_ERR_NO_DOMAIN)

    def restoreFlags(self, _path: str, _xml: None, flags: int) -> None:  # noqa: N802
        self.tried.append(flags)
        if flags not in self._flags:
            raise self._libvirt.libvirtError(flags)


def test_a_state_that_qemu_does_not_take_as_a_file_comes_through_a_pipe(
    tmp_path: Path, libvirt: SimpleNamespace
) -> None:
    state = tmp_path / "a.save"
    state.touch()
    as_file = libvirt.VIR_DOMAIN_SAVE_RUNNING
    as_pipe = as_file | libvirt.VIR_DOMAIN_SAVE_BYPASS_CACHE
    for ways, tried in (((as_file, as_pipe), [as_file]), ((as_pipe,), [as_file, as_pipe])):
        host = Host(libvirt, *ways)
        restore(host, "vcsp-guest", state)
        assert host.tried == tried
    with pytest.raises(GuestError, match=rf"cannot be restored \(error {as_file}; through a pipe: error {as_pipe}\)"):
        restore(Host(libvirt), "vcsp-guest", state)


def test_check_mode_refuses_what_the_real_run_would(tmp_path: Path, libvirt: SimpleNamespace) -> None:
    def nobody(_name: str) -> Guest:
        raise libvirt.libvirtError(libvirt.VIR_ERR_NO_DOMAIN)

    free, taken = (SimpleNamespace(lookupByName=look) for look in (nobody, lambda _name: Guest("<domain/>")))
    state, kernel, disk = tmp_path / "a.save", tmp_path / "vmlinuz", tmp_path / "root.squashfs"
    for path in (state, kernel, disk):
        path.touch()
    source = f"<devices><disk><source file='{disk}'/></disk></devices>"
    xml = f"<domain><name>vcsp-guest</name><os><kernel>{kernel}</kernel></os>{source}</domain>"
    check_restore(free, "vcsp-guest", state)
    check_make(free, "vcsp-guest", xml)
    with pytest.raises(GuestError, match="choose another guest_name"):
        check_restore(taken, "vcsp-guest", state)
    with pytest.raises(GuestError, match="choose another guest_name"):
        check_make(taken, "vcsp-guest", xml)
    with pytest.raises(GuestError, match="is of a guest named vcsp-guest, not other"):
        check_make(free, "other", xml)
    with pytest.raises(GuestError, match="xml: "):
        check_make(free, "vcsp-guest", "<domain>")
    for path in (kernel, disk):
        path.unlink()
        with pytest.raises(GuestError, match=f"there is no {path}.*, which the guest vcsp-guest needs"):
            check_make(free, "vcsp-guest", xml)
        path.touch()
    state.unlink()
    with pytest.raises(GuestError, match="there is no saved state"):
        check_restore(free, "vcsp-guest", state)


def test_every_workload_has_its_own_file() -> None:
    every = [
        Workload(mb, pattern, work, idle_mb=idle_mb)
        for mb in (8, 64)
        for pattern in ("sequential", "random")
        for work in (1, 10)
        for idle_mb in (0, 8, 64)
    ]
    assert len({workload.file_name for workload in every}) == len(every)
    assert Workload(8, "random", 4).file_name == "0008mb-random-w4.save"
    assert Workload(8, "random", 4, idle_mb=64).file_name == "0008mb-random-w4-idle64.save"
    assert Workload(8, "random", 4).command == "start 8 random 2048 100 0"
    assert Workload(8, "random", 4, idle_mb=64).command == "start 8 random 2048 100 64"
