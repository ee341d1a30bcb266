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

from .._libvirt import libvirt

NAMESPACE = "https://github.com/vcsp/testbed/quota/1"
UNLIMITED = -1
# The kernel's limits on a CFS period (sched-bwc.rst), and libvirt's minimum quota.
PERIOD_MIN_US, PERIOD_MAX_US, QUOTA_MIN_US = 1000, 1_000_000, 1000


def quota_us(percent: int, period_us: int) -> int:
    """Quota in microseconds per period for ``percent`` of a processor, but no less than the minimum."""
    return max(QUOTA_MIN_US, period_us * percent // 100)


def throttle(domain: Any, percent: int, period_us: int) -> None:
    """Limit every vCPU of a guest to ``percent`` of a processor until ``lift``.

    :raises libvirt.libvirtError: e.g. no CPU controller in the host's cgroups.
    """
    before = domain.schedulerParametersFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE)
    note = ElementTree.Element("throttled", {"period": str(before["vcpu_period"]), "quota": str(before["vcpu_quota"])})
    _note(domain, ElementTree.tostring(note, encoding="unicode"))
    _set(domain, period_us, quota_us(percent, period_us))


def lift(domain: Any) -> bool:
    """Restore the limits from before ``throttle``; False if no quota of ours is in force.

    :raises libvirt.libvirtError: the guest is gone, or libvirt cannot answer.
    """
    try:
        text = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            return False
        raise
    note = ElementTree.fromstring(text)
    _set(domain, int(note.attrib["period"]), int(note.attrib["quota"]))
    _note(domain, None)
    return True


def _note(domain: Any, text: str | None) -> None:
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, "vcsp", NAMESPACE, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _set(domain: Any, period_us: int, quota: int) -> None:
    # libvirt reports 0 for "never set", but takes -1 for "no limit".
    wanted = {"vcpu_quota": quota or UNLIMITED}
    if period_us:
        wanted["vcpu_period"] = period_us
    domain.setSchedulerParametersFlags(wanted, libvirt.VIR_DOMAIN_AFFECT_LIVE)
