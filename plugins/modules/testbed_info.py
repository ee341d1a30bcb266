#!/usr/bin/python
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: testbed_info
short_description: What a host can do for post-copy migration, and its provenance
version_added: 0.1.0
description:
  - Reports what a migration host can do, by trying it where that is cheap. KVM counts if it actually boots the guest,
    eBPF if the prefetch program actually loads.
  - Changes nothing but the file O(cache).
author:
  - vcsp.testbed contributors (!UNKNOWN)
options:
  qemu_binary:
    description: QEMU binary to examine.
    type: str
    default: qemu-system-x86_64
  system:
    description: The kind of guest that RV(info.accelerator) is for.
    type: str
    choices: [debian, bare]
    default: debian
  kernel:
    description: The kernel of a Debian guest, to try KVM with. Without it, its accelerator is V(tcg).
    type: path
  rom:
    description: The ROM of a bare guest, to try KVM with. Without it, its accelerator is V(tcg).
    type: path
  host_cpus:
    description:
      - RV(info.kvm) has it as C(host_cpu), of each host that the guest moves between. If they differ, KVM is tried with
        their common CPU model, libvirt's baseline, and with no other.
    type: list
    elements: str
    default: []
  prefetch_program:
    description: The compiled eBPF program.
    type: path
    default: /var/lib/libvirt/vcsp/prefetch.bpf.o
  tls_dir:
    description: Folder of the certificates with which QEMU encrypts migrations.
    type: path
    default: /etc/pki/qemu/vcsp
  migration_address:
    description:
      - The address on which this host is a destination, and which its certificate must therefore be for. Empty or
        omitted for a host that is none.
    type: str
  cache:
    description:
      - File that keeps what KVM can do until the host reboots, because trying a KVM that hangs takes ten seconds.
      - Written if its directory exists. This does not count as a change.
    type: path
    default: /var/lib/libvirt/vcsp/accelerator.json
extends_documentation_fragment: [vcsp.testbed.attributes]
attributes:
  check_mode:
    description: In check mode the file O(cache) is read but not written.
    support: full
"""

EXAMPLES = r"""
- name: Examine a host
  vcsp.testbed.testbed_info:
    kernel: /var/lib/libvirt/images/vcsp/vmlinuz
    rom: /var/lib/libvirt/images/vcsp/bare.rom
  register: host

- name: Show its accelerator
  ansible.builtin.debug:
    msg: "{{ host.info.accelerator.name }}: {{ host.info.accelerator.reason }}"
"""

RETURN = r"""
info:
  description: The host.
  returned: success
  type: dict
  contains:
    qemu:
      description: Version and features of QEMU; null if it is not installed.
      type: dict
      sample: {version: 10.0.2, major: 10, postcopy_preempt: true, postcopy_blocktime: true}
    libvirt:
      description: Version of libvirt; null if its Python binding or daemon is missing.
      type: dict
      sample: {version: 11.3.0}
    accelerator:
      description: The accelerator that actually runs a guest of the kind O(system), and why.
      type: dict
      sample: {name: tcg, reason: "there is no usable /dev/kvm"}
    kvm:
      description:
        - What KVM does with each kind of guest, V(bare) and V(debian). C(usable) is null where it was not tried;
          C(reason) says why; C(cpu) is the CPU model that it ran with, and C(cpu_xml) the same for libvirt.
        - The CPU models are tried in the order host-model, host-passthrough, libvirt's baseline, each without the
          features that QEMU says it cannot set.
        - C(host_cpu) is what libvirt says of the host's CPU; null if nothing.
      type: dict
    machines:
      description:
        - The machine types behind C(pc) that guests can have here, by their whole names. The first is the one that
          C(pc) means. Empty if libvirt does not answer.
      type: list
      elements: str
      sample: [pc-i440fx-10.0, pc-i440fx-9.2]
    userfaultfd:
      description:
        - Whether QEMU, as the user that libvirt runs it as, may use userfaultfd. It may as root, with
          vm.unprivileged_userfaultfd=1, or where that user may open /dev/userfaultfd.
      type: dict
    ebpf:
      description: Whether the prefetch program loads and attaches.
      type: dict
    cgroup:
      description: Version of the cgroup hierarchy with the CPU controller, and whether the controller is available.
      type: dict
    tls:
      description:
        - Whether QEMU can encrypt migrations with the certificates in O(tls_dir), tried in a connection of this host
          with itself. C(authorities) has the SHA-256 of each certificate of an authority that is trusted.
      type: dict
    memory:
      description: Total and available memory, in MB.
      type: dict
    kernel:
      description: Kernel release.
      type: str
    cpu:
      description: Model, number, microcode and frequency governors of the processors; null where there are none.
      type: dict
    distribution:
      description: Name of the distribution.
      type: str
    hostname:
      description: Name of the host.
      type: str
    boot_id:
      description: Boot id of the kernel. Hosts that share a kernel, as in the embedded lab, have the same one.
      type: str
    thp:
      description: The host's setting for transparent huge pages.
      type: str
"""

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vcsp.testbed.plugins.module_utils._host import capabilities, certificates, kvm
from ansible_collections.vcsp.testbed.plugins.module_utils._host.machines import machines
from ansible_collections.vcsp.testbed.plugins.module_utils._host.memory import memory
from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import ConnectionFailed, connect
from ansible_collections.vcsp.testbed.plugins.module_utils._libvirt import LIBVIRT_IMPORT_ERROR


def libvirt_connection() -> Any | None:
    """Connection to libvirt; None if it is not installed or does not answer."""
    if LIBVIRT_IMPORT_ERROR is not None:
        return None
    try:
        return connect("qemu:///system")
    except ConnectionFailed:
        return None


def version(connection: Any | None) -> dict[str, str] | None:
    """Version of libvirt."""
    if connection is None:
        return None
    number = connection.getLibVersion()
    return {"version": f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "qemu_binary": {"type": "str", "default": "qemu-system-x86_64"},
            "system": {"type": "str", "choices": ["debian", "bare"], "default": "debian"},
            "kernel": {"type": "path"},
            "rom": {"type": "path"},
            "host_cpus": {"type": "list", "elements": "str", "default": []},
            "prefetch_program": {"type": "path", "default": "/var/lib/libvirt/vcsp/prefetch.bpf.o"},
            "tls_dir": {"type": "path", "default": "/etc/pki/qemu/vcsp"},
            "migration_address": {"type": "str"},
            "cache": {"type": "path", "default": "/var/lib/libvirt/vcsp/accelerator.json"},
        },
        supports_check_mode=True,
    )
    os.umask(os.umask(0o022) | 0o022)  # whatever the caller's, others must not write to what is created here
    params = module.params
    binary = params["qemu_binary"]
    bare, kernel, cache = (Path(params[name]) if params[name] else None for name in ("rom", "kernel", "cache"))
    connection = libvirt_connection()
    qemu, libvirt = capabilities.qemu(binary), version(connection)
    keep, host_cpu = not module.check_mode, kvm.host_cpu(connection)
    found = kvm.probe(connection, bare, kernel, cache, [qemu, libvirt, host_cpu], keep, params["host_cpus"])
    of_guests = machines(connection)
    if connection is not None:
        connection.close()
    info = {
        "qemu": qemu,
        "libvirt": libvirt,
        "accelerator": kvm.accelerator(found, params["system"]),
        "kvm": {**found, "host_cpu": host_cpu},
        "machines": of_guests,
        "userfaultfd": capabilities.userfaultfd(),
        "ebpf": capabilities.ebpf(Path(params["prefetch_program"])),
        "cgroup": capabilities.cgroup(),
        "tls": certificates.look(Path(params["tls_dir"]), params["migration_address"] or None),
        "memory": memory(),
        **capabilities.provenance(),
    }
    module.exit_json(changed=False, info=info)


if __name__ == "__main__":
    main()
