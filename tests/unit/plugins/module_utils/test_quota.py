# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The vCPU quota, set and lifted on a guest that is only a dictionary."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils._destination import quota


class Guest:
    """A domain with scheduler parameters and metadata."""

    def __init__(self, libvirt: SimpleNamespace, period_us: int, quota_us: int) -> None:
        self.libvirt = libvirt
        self.parameters = {"vcpu_period": period_us, "vcpu_quota": quota_us, "cpu_shares": 1024}
        self.notes: dict[str, str] = {}
        self.refuses = False

    def schedulerParametersFlags(self, _flags: int) -> dict[str, int]:  # noqa: N802
        return dict(self.parameters)

    def setSchedulerParametersFlags(self, wanted: dict[str, int], _flags: int) -> None:  # noqa: N802
        if self.refuses:
            raise self.libvirt.libvirtError(self.libvirt.VIR_ERR_INTERNAL_ERROR)
        self.parameters.update(wanted)

    def setMetadata(self, _kind: int, text: str | None, _key: str, uri: str, _flags: int) -> None:  # noqa: N802
        if text is None:
            del self.notes[uri]
        else:
            self.notes[uri] = text

    def metadata(self, _kind: int, uri: str, _flags: int) -> str:
        if uri not in self.notes:
            raise self.libvirt.libvirtError(self.libvirt.VIR_ERR_NO_DOMAIN_METADATA)
        return self.notes[uri]


def limits(guest: Guest) -> tuple[int, int]:
    return guest.parameters["vcpu_period"], guest.parameters["vcpu_quota"]


@pytest.mark.parametrize(
    ("percent", "period_us", "expected_us"),
    [(50, 10_000, 5_000), (100, 10_000, 10_000), (1, 1_000_000, 10_000), (5, 10_000, 1_000), (33, 100_000, 33_000)],
)
def test_quota_of_a_share(percent: int, period_us: int, expected_us: int) -> None:
    assert quota.quota_us(percent, period_us) == expected_us


@given(st.integers(1, 100), st.integers(quota.PERIOD_MIN_US, quota.PERIOD_MAX_US))
def test_the_kernel_accepts_every_quota(percent: int, period_us: int) -> None:
    assert quota.QUOTA_MIN_US <= quota.quota_us(percent, period_us) <= period_us


@pytest.mark.parametrize(("period_us", "quota_us"), [(100_000, 60_000), (100_000, -1), (10_000, 10_000)])
def test_lift_restores_the_previous_limits(libvirt: SimpleNamespace, period_us: int, quota_us: int) -> None:
    guest = Guest(libvirt, period_us, quota_us)
    quota.throttle(guest, 50, 10_000)
    assert limits(guest) == (10_000, 5_000)
    assert quota.lift(guest) is True
    assert limits(guest) == (period_us, quota_us)
    assert guest.notes == {}


def test_a_guest_without_limits_is_unlimited_again(libvirt: SimpleNamespace) -> None:
    guest = Guest(libvirt, 0, 0)  # libvirt's way to report "never set"
    quota.throttle(guest, 50, 10_000)
    quota.lift(guest)
    assert guest.parameters["vcpu_quota"] == quota.UNLIMITED


def test_somebody_elses_quota_is_left_alone(libvirt: SimpleNamespace) -> None:
    guest = Guest(libvirt, 100_000, 60_000)
    assert quota.lift(guest) is False
    quota.throttle(guest, 50, 10_000)
    assert quota.lift(guest) is True
    assert quota.lift(guest) is False
    assert limits(guest) == (100_000, 60_000)


@given(st.integers(1, 100), st.sampled_from([1000, 10_000, 100_000]), st.integers(1000, 200_000))
def test_a_quota_is_never_loosened(percent: int, period_us: int, before_us: int) -> None:
    guest = Guest(SimpleNamespace(), 100_000, before_us)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quota, "libvirt", SimpleNamespace(VIR_DOMAIN_AFFECT_LIVE=1))
        patch.setattr(quota.domains, "write_note", lambda *_: None)
        tighter = quota.throttle(guest, percent, period_us)
    period, limit = limits(guest)
    assert limit * 100_000 <= before_us * period
    assert tighter is None or limits(guest) == (100_000, before_us)


def test_a_quota_that_is_tighter_already_is_said_and_stays(libvirt: SimpleNamespace) -> None:
    guest = Guest(libvirt, 100_000, 30_000)
    assert quota.throttle(guest, 50, 10_000) == "30 % of a processor"
    assert quota.lift(guest) is False
    assert limits(guest) == (100_000, 30_000)


def test_the_note_is_written_before_the_quota(libvirt: SimpleNamespace) -> None:
    guest = Guest(libvirt, 100_000, 60_000)
    guest.refuses = True
    with pytest.raises(libvirt.libvirtError):
        quota.throttle(guest, 50, 10_000)
    guest.refuses = False
    assert quota.lift(guest) is True
    assert limits(guest) == (100_000, 60_000)


def test_a_guest_that_is_gone_is_an_error(libvirt: SimpleNamespace) -> None:
    def gone(*_arguments: Any) -> str:
        raise libvirt.libvirtError(libvirt.VIR_ERR_NO_DOMAIN)

    guest = Guest(libvirt, 0, 0)
    guest.metadata = gone  # type: ignore[method-assign]
    with pytest.raises(libvirt.libvirtError):
        quota.lift(guest)
