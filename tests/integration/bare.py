# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A bare guest under KVM on the lab's source, as the roles make it."""

from __future__ import annotations

from typing import Any

import jinja2
from ansible.plugins.filter.core import FilterModule

from .conftest import ADDRESS, ROOT, module, on

GUEST = "vcsp-guest"
IMAGES = "/var/lib/libvirt/images/vcsp"
WINDOW_MB = 8


class NoKvm(Exception):
    """KVM does not run the bare guest on the lab's hosts; the message says why."""


def image() -> str:
    """The folder of its ROM on the hosts, which comes with Debian's image, too; empty if there is none yet."""
    found = on("source", f"ls {IMAGES}/bare.rom {IMAGES}/bare/bare.rom 2>/dev/null", check=False).split()
    return found[0].rpartition("/")[0] if found else ""


def kvm(host: str, **changes: Any) -> dict[str, Any]:
    """What testbed_info says of KVM there, asked as playbooks/guest.yml has asked before, so that it is known."""
    asked = {"rom": f"{image()}/bare.rom", "kernel": f"{image()}/vmlinuz", **changes}
    found: dict[str, Any] = module(host, "testbed_info", **asked)["info"]["kvm"]
    return found


def cpu_xml() -> str:
    """The CPU model with which KVM runs it.

    :raises NoKvm: it does not.
    """
    for host in ADDRESS:
        found = kvm(host)["bare"]
        assert found["usable"] is not None, found["reason"]
        if not found["usable"]:
            raise NoKvm(f"KVM does not run the bare guest on the {host}: {found['reason']}")
    return str(found["cpu_xml"])


def domain_xml(cpu_xml: str, vcpus: int = 1) -> str:
    """The XML that the role guest makes."""
    loader = jinja2.FileSystemLoader(ROOT / "roles/guest/templates")
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True)
    filters = FilterModule().filters().items()
    environment.filters |= {f"ansible.builtin.{name}": function for name, function in filters}
    return environment.get_template("domain.xml.j2").render(
        guest_system="bare",
        guest_machine="pc",
        guest_accelerator="kvm",
        guest_cpu_xml=cpu_xml,
        guest_image_path=image(),
        guest_name=GUEST,
        guest_memory_mb=64,
        guest_vcpus=vcpus,
    )


def start(xml: str, window_mb: int = WINDOW_MB) -> None:
    """Boot a guest on the source and start its walk."""
    workload = {"window_mb": window_mb, "work_per_page": 1}
    module("source", "saved_guest", name=GUEST, state="running", xml=xml, workload=workload)
