# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sets every vCPU quota again that anybody lifts on this host, until killed; a line in the given file for each.

Runs with the host's own Python. libvirt says when a quota is set or lifted, so nothing is polled.
"""

from __future__ import annotations

import queue
import sys
from pathlib import Path
from typing import Any

import libvirt

QUOTA = "cputune.vcpu_quota"


def main(path: Path) -> None:
    """Leave quotas in force, and say so in ``path``."""
    changes: queue.Queue[tuple[str, int]] = queue.Queue()

    def changed(_connection: Any, domain: Any, parameters: dict[str, Any], _opaque: None) -> None:
        if QUOTA in parameters:
            changes.put((domain.UUIDString(), parameters[QUOTA]))

    libvirt.virEventRegisterDefaultImpl()
    connection = libvirt.open("qemu:///system")
    connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_TUNABLE, changed, None)
    path.touch()
    quotas: dict[str, int] = {}
    while True:
        libvirt.virEventRunDefaultImpl()
        while not changes.empty():
            guest, quota = changes.get()
            if quota > 0:
                quotas[guest] = quota
            elif guest in quotas:
                wanted = {"vcpu_quota": quotas.pop(guest)}
                connection.lookupByUUIDString(guest).setSchedulerParametersFlags(wanted, libvirt.VIR_DOMAIN_AFFECT_LIVE)
                with path.open("a") as output:
                    output.write(f"{guest} {wanted['vcpu_quota']}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
