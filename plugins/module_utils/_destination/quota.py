# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""vCPU quota: E % of a processor for every vCPU of a guest (paper, section 3: "Schedule E% of the CPU time").

Set through libvirt on the vCPU cgroups (vcpu_period, vcpu_quota), never on the whole process: QEMU's own threads move
the memory. While our quota is in force, the guest's metadata holds the previous values, so that a later call can lift
exactly what a killed one left behind.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from .._host import domain as domains
from .._libvirt import libvirt

UNLIMITED = -1
# The kernel's limits on a CFS period (sched-bwc.rst), and libvirt's minimum quota.
PERIOD_MIN_US, PERIOD_MAX_US, QUOTA_MIN_US = 1000, 1_000_000, 1000


def quota_us(percent: int, period_us: int) -> int:
    """Quota in microseconds per period for ``percent`` of a processor, but no less than the minimum."""
    return max(QUOTA_MIN_US, period_us * percent // 100)


def throttle(domain: Any, percent: int, period_us: int) -> str | None:
    """Limit every vCPU of a guest to ``percent`` of a processor until ``lift``.

    A limit that is tighter already stays as it is.

    :returns: that limit, in words; None if ours is in force.
    :raises libvirt.libvirtError: e.g. no CPU controller in the host's cgroups.
    """
    found = domain.schedulerParametersFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE)
    period, limit, wanted = found["vcpu_period"], found["vcpu_quota"], quota_us(percent, period_us)
    if period > 0 and limit > 0 and limit * period_us < wanted * period:
        return f"{100 * limit / period:g} % of a processor"
    note = ElementTree.Element("throttled", {"period": str(period), "quota": str(limit)})
    domains.write_note(domain, domains.QUOTA_NOTE, note)
    _set(domain, period_us, wanted)
    return None


def lift(domain: Any) -> bool:
    """Restore the limits from before ``throttle``; False if no quota of ours is in force.

    :raises libvirt.libvirtError: the guest is gone, or libvirt cannot answer.
    """
    note = domains.read_note(domain, domains.QUOTA_NOTE)
    if note is None:
        return False
    _set(domain, int(note.attrib["period"]), int(note.attrib["quota"]))
    domains.write_note(domain, domains.QUOTA_NOTE, None)
    return True


def _set(domain: Any, period_us: int, quota: int) -> None:
    # libvirt reports 0 for "never set", but takes -1 for "no limit".
    wanted = {"vcpu_quota": quota or UNLIMITED}
    if period_us:
        wanted["vcpu_period"] = period_us
    domain.setSchedulerParametersFlags(wanted, libvirt.VIR_DOMAIN_AFFECT_LIVE)
