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
  vcpu_quota_percent:
    description: Share of a processor that each vCPU gets from resume to completion; V(100) sets no quota.
    type: int
    default: 100
  vcpu_period_us:
    description: Period of the quota in microseconds, 1000 to 1000000.
    type: int
    default: 10000
  vcpu_quota_until:
    description:
      - What lifts the quota. V(completed) is the last page, as in the paper.
      - V(working-set) is as soon as the guest has walked its working window once, or asks for no more pages.
    type: str
    choices: [working-set, completed]
    default: completed
  prefetch_pages:
    description:
      - Pages asked for by each page request; V(1) is plain demand paging.
      - A page is one of the guest's RAMBlock, 4 KiB, or 2 MiB on huge pages of hugetlbfs.
    type: int
    default: 1
  prefetch_policy:
    description:
      - Which pages are asked for beside the missing one. Never any beyond its RAMBlock.
      - V(fixed), the paper's, takes the next ones.
      - V(around) takes those before and after, the missing one in the middle.
      - V(readahead) takes the next ones, and twice as many with each request that continues a sequential stream, up to
        O(prefetch_max_pages); a jump begins anew with O(prefetch_pages).
    type: str
    choices: [fixed, around, readahead]
    default: fixed
  prefetch_max_pages:
    description: The most pages that V(readahead) of O(prefetch_policy) asks for, 128 if not given.
    type: int
  transfer:
    description:
      - V(push) is QEMU's ordinary behaviour, memory is pushed in the background at once.
      - V(demand) is the paper's demand paging. The push is held down until the guest has walked its working window
        once, or asks for no more pages. Needs QEMU 8.0.
    type: str
    choices: [demand, push]
    default: push
  postcopy_preempt:
    description:
      - Whether requested pages get a connection of their own beside the push. Needs QEMU 8.0.
      - If not given, on for V(demand) of O(transfer), which needs it, and off for V(push), as QEMU has it.
    type: bool
  max_postcopy_bandwidth_mb_per_s:
    description: Limit of the background push in MB/s, QEMU's C(max-postcopy-bandwidth); V(0) is none.
    type: float
    default: 0
  window_mb:
    description:
      - Working window of the guest's workload, MB.
      - Without it V(demand) ends when the guest asks for no more pages.
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
attributes:
  check_mode:
    description: Checks both hosts and the guest, and migrates nothing.
    support: full
  diff_mode:
    description: There is nothing to show a difference of.
    support: none
requirements:
  - python3-libvirt on this host
  - QEMU 8.0 on both hosts for O(transfer=demand)
  - libbpf 1.0 and a kernel with sockops, sk_msg and bpf_link for O(prefetch_pages) above 1
"""

EXAMPLES = r"""
- name: Bring a guest here, gently
  vcsp.testbed.postcopy_migration:
    name: web1
    source_uri: qemu+ssh://root@node1/system
    migration_address: 192.0.2.12
    vcpu_quota_percent: 50
    prefetch_pages: 10
  delegate_to: node2

- name: Run one trial of the paper's VCSP-prefetching
  vcsp.testbed.postcopy_migration:
    name: vcsp-guest
    source_uri: qemu+ssh://root@source/system
    migration_address: 198.18.1.12
    vcpu_quota_percent: 50
    prefetch_pages: 10
    transfer: demand
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
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.vcsp.testbed.plugins.module_utils._destination import quota
from ansible_collections.vcsp.testbed.plugins.module_utils._destination.policies import policy
from ansible_collections.vcsp.testbed.plugins.module_utils._destination.prefetch import PrefetchError
from ansible_collections.vcsp.testbed.plugins.module_utils._host import endpoints
from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import (
    LIBVIRT_IMPORT_ERROR,
    ConnectionFailed,
    GuestGone,
    QmpError,
)
from ansible_collections.vcsp.testbed.plugins.module_utils._measure.readings import Settings
from ansible_collections.vcsp.testbed.plugins.module_utils._measure.result import build
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.errors import MigrationError
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.transaction import Migration

ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "source_uri": {"type": "str", "required": True},
    "destination_uri": {"type": "str", "default": "qemu:///system"},
    "migration_address": {"type": "str", "required": True},
    "vcpu_quota_percent": {"type": "int", "default": 100},
    "vcpu_period_us": {"type": "int", "default": 10000},
    "vcpu_quota_until": {"type": "str", "choices": ["working-set", "completed"], "default": "completed"},
    "prefetch_pages": {"type": "int", "default": 1},
    "prefetch_policy": {"type": "str", "choices": ["fixed", "around", "readahead"], "default": "fixed"},
    "prefetch_max_pages": {"type": "int"},
    "transfer": {"type": "str", "choices": ["demand", "push"], "default": "push"},
    "postcopy_preempt": {"type": "bool"},
    "max_postcopy_bandwidth_mb_per_s": {"type": "float", "default": 0},
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
# Options that must be greater than 0 where they are given.
POSITIVE = ("prefetch_pages", "prefetch_max_pages", "window_mb", "observation_s", "timeout_s", "stall_timeout_s")


def problems(params: dict[str, Any]) -> list[str]:
    """What is wrong with the arguments, before anything is touched."""
    found = []
    if not 1 <= params["vcpu_quota_percent"] <= 100:
        found.append(f"vcpu_quota_percent: {params['vcpu_quota_percent']} is not between 1 and 100")
    period_us, least_us, most_us = params["vcpu_period_us"], quota.PERIOD_MIN_US, quota.PERIOD_MAX_US
    if not least_us <= period_us <= most_us:
        found.append(f"vcpu_period_us: {period_us} is not between {least_us} and {most_us}")
    elif not found and period_us * params["vcpu_quota_percent"] // 100 < quota.QUOTA_MIN_US:
        found.append(
            f"vcpu_quota_percent: {params['vcpu_quota_percent']} % of {period_us} us is less than the kernel grants "
            f"({quota.QUOTA_MIN_US} us): make vcpu_period_us longer"
        )
    found += [
        f"{name}: {params[name]} must be greater than 0"
        for name in POSITIVE
        if params[name] is not None and not params[name] > 0  # so NaN, which no comparison holds for, is refused too
    ]
    found += [
        f"{name}: {params[name]} must not be negative"
        for name in ("baseline_s", "cpu_latency_us", "max_postcopy_bandwidth_mb_per_s")
        if params[name] is not None and not params[name] >= 0
    ]
    if not found:
        try:
            policy(params["prefetch_policy"], params["prefetch_pages"], params["prefetch_max_pages"])
        except ValueError as error:
            found.append(str(error))
    if params["transfer"] == "demand" and params["postcopy_preempt"] is False:
        found.append("postcopy_preempt: false holds requested pages down too; use transfer: push, or leave it out")
    return misplaced(params) + found


def misplaced(params: dict[str, Any]) -> list[str]:
    """What is wrong with the guest's name and the hosts' URIs and address."""
    found = [f"{name}: {problem}" for name, check in ENDPOINTS.items() if (problem := check(params[name])) is not None]
    if params["source_uri"] == params["destination_uri"]:
        found.append(f"source_uri: {params['source_uri']} is the destination's, too; give the other host's")
    return found


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if LIBVIRT_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("python3-libvirt"), exception=str(LIBVIRT_IMPORT_ERROR))
    wrong = problems(module.params)
    if wrong:
        module.fail_json(msg="; ".join(wrong))
    settings = Settings(**{**module.params, "prefetch_program": Path(module.params["prefetch_program"])})
    migration = Migration(settings, report=module.warn)
    started_at = now()
    try:
        if module.check_mode:
            module.exit_json(changed=migration.check())
        readings = migration.run()
    except MigrationError as error:
        module.fail_json(msg=str(error), phase=error.phase.value)
    except (ConnectionFailed, GuestGone, PrefetchError, QmpError) as error:
        module.fail_json(msg=str(error))
    changed = not readings.was_home or readings.quota_left_over
    module.exit_json(changed=changed, started_at=started_at, ended_at=now(), **build(settings, readings))


def now() -> str:
    """The time, ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


if __name__ == "__main__":
    main()
