#!/usr/bin/python
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: postcopy_migration
short_description: Migrate one running guest to this host by post-copy, and measure it
version_added: 0.1.0
description:
  - Runs on the B(destination) host and brings one running QEMU guest here by post-copy live migration, with a quota on
    its virtual CPUs (VCSP) and prefetching of adjacent pages as asked.
  - The migration is driven by QMP through libvirt on both hosts. Prefetching is an eBPF program on this host that
    lengthens the page requests that QEMU sends; QEMU itself is not changed.
  - Whatever happens, the quota is lifted and the eBPF program gone when the module ends. Before the switch a failure
    leaves the guest running on the source. After the switch the migration is watched, paused and recovered when it
    stalls.
  - Called for a guest that an interrupted call left half migrated, it brings the guest home and returns
    RV(taken_over=true). Called for a guest that runs here already, it changes nothing.
  - Restarts of libvirtd on either host are waited for; what of the measurement they cost is said in RV(validity).
author:
  - vcsp.testbed contributors (!UNKNOWN)
options:
  name:
    description: Name of the libvirt domain, running on the source. Any name that libvirt takes.
    type: str
    required: true
  source_uri:
    description:
      - libvirt URI of the source, as seen from this host.
      - One of the QEMU driver, without the transport C(ext) and the parameter C(command), which name programs.
    type: str
    required: true
  destination_uri:
    description: libvirt URI of this host.
    type: str
    default: qemu:///system
  migration_address:
    description:
      - Address of this host on which QEMU listens for the migration. The port is chosen by the kernel.
      - A literal IPv4 or IPv6 address that this host has; no name, no wildcard, not a loopback address.
    type: str
    required: true
  window_mb:
    description:
      - Working window of the guest's workload, MB.
      - Without it V(demand) of O(method.transfer) ends when the guest requests no more pages.
    type: int
  baseline_s:
    description: Time for which the guest is watched on the source first.
    type: float
    default: 0
  observation_s:
    description: Fixed window after the resume over which throughput is measured. Needs a guest with telemetry channel.
    type: float
  verify:
    description: Let the guest's workload verify its memory at the end.
    type: bool
    default: false
  end_guest:
    description: End the guest on this host when everything was measured, as a trial does.
    type: bool
    default: false
  cpu_latency_us:
    description:
      - Longest time in microseconds that this host's processors may take to wake up while the module runs; V(0) keeps
        them from sleeping. Without it they sleep as they are set up to.
      - Takes most of the scatter out of the times of page faults, and shows them shorter than on a host that saves
        power.
    type: int
  prefetch_program:
    description: The compiled eBPF program, installed by the role P(vcsp.testbed.hypervisor#role).
    type: path
    default: /var/lib/libvirt/vcsp/prefetch.bpf.o
  timeout_s:
    description: Time for everything besides baseline and observation.
    type: float
    default: 300
  stall_timeout_s:
    description: Time without any progress after which a migration is paused and recovered.
    type: float
    default: 15
extends_documentation_fragment:
  - vcsp.testbed.method
attributes:
  check_mode:
    description: Checks both hosts and the guest, and migrates nothing.
    support: full
  diff_mode:
    description: There is nothing to show a difference of.
    support: none
requirements:
  - python3-libvirt on this host
  - QEMU 8.0 on both hosts for O(method.transfer=demand)
  - libbpf 1.0 and a kernel with sockops, sk_msg and bpf_link for O(method.prefetch_pages) above 1
"""

EXAMPLES = r"""
- name: Bring a guest here, gently
  vcsp.testbed.postcopy_migration:
    name: web1
    source_uri: qemu+ssh://root@node1/system
    migration_address: 192.0.2.12
    method: {vcpu_quota_percent: 50, prefetch_pages: 10, transfer: push}
  delegate_to: node2

- name: Run one trial of the paper's VCSP-prefetching
  vcsp.testbed.postcopy_migration:
    name: vcsp-guest
    source_uri: qemu+ssh://root@source/system
    migration_address: 198.18.1.12
    method: {vcpu_quota_percent: 50, prefetch_pages: 10}
    window_mb: 64
    baseline_s: 5
    observation_s: 8
    verify: true
"""

RETURN = r"""
measurements:
  description: Numbers with their unit in the name; null where it could not be measured.
  type: dict
  returned: success
  sample: {downtime_ms: 1694.2, total_migration_time_s: 3.8, page_requests: 16901}
instruments:
  description: Every instrument with C(present), C(reason) and C(values).
  type: dict
  returned: success
events:
  description: QEMU's events of both hosts in seconds from the resume on this host.
  type: list
  elements: dict
  returned: success
clock_offset:
  description: The source's clock less this host's, with the bound of its error, ms.
  type: dict
  returned: success
memory_verified:
  description: Whether the guest found its memory as it must be; null if it was not asked.
  type: bool
  returned: success
validity:
  description: Whether the measurement counts, and the reasons if not.
  type: dict
  returned: success
  sample: {valid: true, reasons: []}
files:
  description: Telemetry and request trace as CSV, compressed with zlib, in base64.
  type: dict
  returned: success
recoveries:
  description: How often the migration stalled and was recovered.
  type: int
  returned: success
taken_over:
  description: Whether this call brought home what an interrupted one had left half migrated.
  type: bool
  returned: success
was_home:
  description: Whether the guest ran on this host already, so that there was nothing to do.
  type: bool
  returned: success
phase:
  description: Where the migration, and so the guest, stands after a failure.
  type: str
  returned: failure
  sample: pre-copy
"""

import time
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.vcsp.testbed.plugins.module_utils import _method as methods
from ansible_collections.vcsp.testbed.plugins.module_utils._host import endpoints
from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import LIBVIRT_IMPORT_ERROR, ConnectionFailed
from ansible_collections.vcsp.testbed.plugins.module_utils._measure.result import build
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.errors import MigrationError
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.transaction import Migration
from ansible_collections.vcsp.testbed.plugins.module_utils._options import Options

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "source_uri": {"type": "str", "required": True},
    "destination_uri": {"type": "str", "default": "qemu:///system"},
    "migration_address": {"type": "str", "required": True},
    "method": {"type": "dict", "default": {}, "options": {"name": {"type": "str"}, **methods.argument_spec()}},
    "window_mb": {"type": "int"},
    "baseline_s": {"type": "float", "default": 0},
    "observation_s": {"type": "float"},
    "verify": {"type": "bool", "default": False},
    "end_guest": {"type": "bool", "default": False},
    "cpu_latency_us": {"type": "int"},
    "prefetch_program": {"type": "path", "default": "/var/lib/libvirt/vcsp/prefetch.bpf.o"},
    "timeout_s": {"type": "float", "default": 300},
    "stall_timeout_s": {"type": "float", "default": 15},
}

# What says which guest goes from where to where, and what looks at it.
ENDPOINTS = {
    "name": endpoints.name_problem,
    "source_uri": endpoints.uri_problem,
    "destination_uri": endpoints.uri_problem,
    "migration_address": endpoints.address_problem,
}
# Options that must be greater than 0 where they are given, and those that must not be negative.
POSITIVE = ("window_mb", "observation_s", "timeout_s", "stall_timeout_s")
NOT_NEGATIVE = ("baseline_s", "cpu_latency_us")


def problems(params: dict[str, Any]) -> list[str]:
    """What is wrong with the arguments, before anything is touched."""
    found = [f"{name}: {problem}" for name, check in ENDPOINTS.items() if (problem := check(params[name])) is not None]
    if params["source_uri"] == params["destination_uri"]:
        found.append(f"source_uri: {params['source_uri']} is the destination's, too; give the other host's")
    # Comparisons are written so that NaN, for which none holds, is refused too.
    found += [
        f"{name}: {params[name]} must be greater than 0"
        for name in POSITIVE
        if params[name] is not None and not params[name] > 0
    ]
    found += [
        f"{name}: {params[name]} must not be negative"
        for name in NOT_NEGATIVE
        if params[name] is not None and not params[name] >= 0
    ]
    return found + [f"method.{problem}" for problem in methods.Method.of(params["method"]).problems()]


class Module(AnsibleModule):
    """Says where a method's settings went, which were options of their own before there was ``method``."""

    def fail_json(self, msg: str, **values: Any) -> NoReturn:
        super().fail_json(msg=misplaced(self.params) or msg, **values)
        raise AssertionError  # fail_json does not return


def misplaced(given: dict[str, Any]) -> str | None:
    """What to write instead of settings beside ``method``; None when there are none."""
    settings = {name: given[name] for name in methods.argument_spec() if name in given}
    if not settings:
        return None
    listed = ", ".join(f"{name}: {str(value).lower()}" for name, value in settings.items())
    return f"{', '.join(settings)}: settings of the method; write method: {{{listed}}}"


def main() -> None:
    """Run the module."""
    module = Module(argument_spec=ARGUMENTS, supports_check_mode=True)
    if LIBVIRT_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("python3-libvirt"), exception=str(LIBVIRT_IMPORT_ERROR))
    wrong = problems(module.params)
    if wrong:
        module.fail_json(msg="; ".join(wrong))
    given = {**module.params, "method": methods.Method.of(module.params["method"])}
    options = Options(**{**given, "prefetch_program": Path(given["prefetch_program"])})
    migration = Migration(options, report=module.warn)
    started_at = now()
    try:
        if module.check_mode:
            module.exit_json(changed=migration.check())
        readings = migration.run()
    except MigrationError as error:
        module.fail_json(msg=str(error), phase=error.phase.value)
    except ConnectionFailed as error:
        module.fail_json(msg=str(error))
    changed = not readings.was_home or readings.quota_left_over
    module.exit_json(changed=changed, started_at=started_at, ended_at=now(), **build(options, readings))


def now() -> str:
    """The time, ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


if __name__ == "__main__":
    main()
