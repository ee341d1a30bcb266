#!/usr/bin/python
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: postcopy_migration
short_description: Migrate one running guest to this host by post-copy, and measure it
version_added: 0.1.0
description:
  - Runs on the B(destination) host and migrates one running QEMU guest to it by post-copy, optionally with a quota on
    its virtual CPUs (VCSP) and with prefetching of adjacent pages.
  - The migration is driven by QMP through libvirt on both hosts. Prefetching is an eBPF program on this host that
    lengthens the page requests that QEMU sends; QEMU itself is unmodified.
  - When the module ends, for whatever reason, the quota is lifted and the eBPF program unloaded. A failure before the
    switch leaves the guest running on the source. After the switch, a migration that stalls is paused and recovered.
  - One call at a time may migrate a guest; a second one is refused before it touches anything. If the module is killed
    outright, a small process beside it lifts the quota and releases the push within seconds, and the next call puts
    back what else was changed, on either host and whatever that call is for.
  - If an interrupted call left the guest half migrated, the module completes that migration and returns
    RV(taken_over=true). If the guest already runs here, the module only puts back such leftovers.
  - A guest that its operator paused arrives paused (see O(run_state)). One that stops, ends or pauses later, at any
    moment until the module ends, makes the module fail with where the guest is.
  - The module waits out restarts of libvirtd on either host; RV(validity) says what they cost the measurement. It ends
    by its deadline, or on a signal, even if a libvirtd or QEMU hangs.
  - During the migration, QEMU on this host has a QMP monitor more, on a socket in C(/run) that only its user can reach.
author:
  - vcsp.testbed contributors (!UNKNOWN)
options:
  name:
    description: Name of the libvirt domain that runs on the source. Any name that libvirt accepts.
    type: str
    required: true
  source_uri:
    description:
      - libvirt URI of the source, as seen from this host.
      - It must use the QEMU driver. The transport C(ext) and the parameter C(command) run programs and are refused.
    type: str
    required: true
  destination_uri:
    description: libvirt URI of this host.
    type: str
    default: qemu:///system
  migration_address:
    description:
      - Address of this host on which QEMU listens for the migration.
      - A literal IPv4 or IPv6 address of this host; not a name, a wildcard or a loopback address.
    type: str
    required: true
  migration_ports:
    description:
      - TCP ports of this host, the first and the last one, of which QEMU listens on the first that is free. The source
        must reach them; a firewall between the two hosts has to let them through.
      - The default is libvirt's own range.
    type: str
    default: 49152-49215
  window_mb:
    description:
      - Working window of the guest's workload, in MB.
      - Without it, V(demand) of O(method.transfer) ends once the guest stops requesting pages.
    type: int
  work_words:
    description:
      - How many words each visit of the guest's workload reads, as M(vcsp.testbed.saved_guest) found them with
        O(vcsp.testbed.saved_guest#module:state=calibrated). The workload is told before O(baseline_s) begins.
      - Without it, the workload goes on as it was saved.
    type: int
  rate_mb_per_s:
    description:
      - The rate that the guest should have in O(baseline_s), in MB/s. One that is off by more than 10 percent is
        pointed out in RV(cautions), one that is off by more than 25 percent makes the measurement invalid.
    type: float
  baseline_s:
    description: How long to observe the guest on the source before migrating it, in seconds.
    type: float
    default: 0
  observation_s:
    description:
      - Length of the fixed window after the resume over which throughput is measured, in seconds.
      - Needs a guest with a telemetry channel.
    type: float
  verify:
    description: Have the guest's workload verify its memory at the end.
    type: bool
    default: false
  end_guest:
    description: Destroy the guest on this host once everything is measured, as a trial does.
    type: bool
    default: false
  files_dir:
    description:
      - Folder on this host for RV(files), which are then written there and listed in RV(stored_files). It is made if
        need be, for its owner alone. A file of the same name is replaced.
      - Use it for traces of many requests, which would otherwise pass through the memory of this host and the
        controller several times.
    type: path
  cpu_latency_us:
    description:
      - Longest time in microseconds that this host's processors may take to wake up while the module runs. V(0) keeps
        them from sleeping. Without it, their own settings apply.
      - Removes most of the scatter from page fault times, but makes them shorter than on a host that saves power.
    type: int
  run_state:
    description:
      - Whether the guest runs on this host in the end.
      - V(keep) has it arrive as it was on the source. A guest that its operator paused before the switch, even before
        the module was called, arrives paused and is not measured; a warning says how to resume it.
      - V(running) resumes a paused guest on this host, whoever paused it.
    type: str
    choices: [keep, running]
    default: keep
  prefetch_program:
    description: The compiled eBPF program, installed by the role P(vcsp.testbed.hypervisor#role).
    type: path
    default: /var/lib/libvirt/vcsp/prefetch.bpf.o
  tls_dir:
    description:
      - Folder of the certificates for O(method.tls), the same on both hosts, made by the role
        P(vcsp.testbed.hypervisor#role) or the site's own. QEMU's names hold, C(ca-cert.pem), C(server-cert.pem),
        C(server-key.pem), C(client-cert.pem) and C(client-key.pem), and its user must be able to read them.
      - The server's certificate of this host must be for O(migration_address).
    type: path
    default: /etc/pki/qemu/vcsp
  timeout_s:
    description:
      - Time without progress, in seconds, after which measuring is given up and the guest is brought home. Progress
        after the switch is a hundredth of the guest's memory that has arrived, however long all of it takes.
      - The way home has the same limit again, after which the module fails and says where the guest is.
    type: float
    default: 300
  total_timeout_s:
    description:
      - Time in seconds after which measuring is given up and the guest is brought home even if there is progress.
        Without it, there is no such limit.
      - Counts from the start of the migration, without O(baseline_s) and O(observation_s).
    type: float
  stall_timeout_s:
    description:
      - Time in seconds in which nothing at all changes, after which a migration is paused and recovered, as often as
        needed until O(timeout_s) has passed twice.
    type: float
    default: 15
  force:
    description:
      - Migrate a guest that is not built for this, too. Without it, the module refuses guests with writable disks,
        network interfaces other than user networking, devices of the host, shared file systems, a TPM, writable
        firmware variables or a persistent definition, names all that it found, and changes nothing.
      - QMP moves memory and devices only, and libvirt does nothing of what C(virsh migrate) would do. A disk that both
        hosts do not share has other content on the destination, which destroys its file systems. Before QEMU 10, one
        that they do share must not be locked by the waiting QEMU. When what is left on the source ends, libvirt may
        take the labels of shared files away from the guest. Network interfaces may stay down. A persistent definition
        and its autostart stay on the source, where the guest can then be started a second time.
    type: bool
    default: false
extends_documentation_fragment:
  - vcsp.testbed.method
  - vcsp.testbed.attributes
attributes:
  check_mode:
    description: Checks both hosts and the guest without migrating.
    support: full
requirements:
  - python3-libvirt on this host
  - QEMU 8.0 on both hosts for O(method.transfer=demand)
  - libbpf 1.0 and a kernel with sockops, sk_msg and bpf_link for O(method.prefetch_pages) above 1
"""

EXAMPLES = r"""
- name: Migrate a guest without disks of its own to node2, gently
  vcsp.testbed.postcopy_migration:
    name: diskless-guest
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
  description: Numbers, with the unit in the name; null where one could not be measured.
  type: dict
  returned: success
  sample: {downtime_ms: 1694.2, total_migration_time_s: 3.8, page_requests: 16901}
instruments:
  description: Every instrument with C(present), C(reason) and C(values).
  type: dict
  returned: success
events:
  description: QEMU's events on both hosts, timed in seconds from the resume on this host.
  type: list
  elements: dict
  returned: success
clock_offset:
  description: The source's clock minus this host's, with the bound of the error, in ms.
  type: dict
  returned: success
memory_verified:
  description: Whether the guest found its memory intact; null if it did not check.
  type: bool
  returned: success
validity:
  description: Whether the measurement counts, with the reasons if it does not.
  type: dict
  returned: success
  sample: {valid: true, reasons: []}
cautions:
  description: What does not make the measurement invalid, but should be known; warned of, too.
  type: list
  elements: str
  returned: success
files:
  description:
    - Telemetry and request trace as CSV, compressed with zlib, in base64. Empty with O(files_dir).
    - The trace holds at most 1048576 requests; RV(instruments) says how many more were only counted.
  type: dict
  returned: success
stored_files:
  description: Paths of the files in O(files_dir), compressed with gzip.
  type: list
  elements: str
  returned: success
  sample: [/var/lib/libvirt/vcsp/trial/telemetry.csv.gz]
recoveries:
  description: How often the migration stalled and was recovered.
  type: int
  returned: success
taken_over:
  description: Whether this call completed a migration that an interrupted one had left half done.
  type: bool
  returned: success
was_home:
  description: Whether the guest already ran on this host, so that there was nothing to do.
  type: bool
  returned: success
run_state:
  description: Whether the guest was V(running) or V(paused) on this host after the migration.
  type: str
  returned: success
  sample: running
phase:
  description: Phase of the migration after a failure, which says where the guest is.
  type: str
  returned: failure
  sample: pre-copy
"""

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.vcsp.testbed.plugins.module_utils import _method as methods
from ansible_collections.vcsp.testbed.plugins.module_utils._host import endpoints
from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import ConnectionFailed
from ansible_collections.vcsp.testbed.plugins.module_utils._libvirt import LIBVIRT_IMPORT_ERROR
from ansible_collections.vcsp.testbed.plugins.module_utils._measure.result import build
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.errors import MigrationError
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.transaction import Migration
from ansible_collections.vcsp.testbed.plugins.module_utils._options import Options

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "source_uri": {"type": "str", "required": True},
    "destination_uri": {"type": "str", "default": "qemu:///system"},
    "migration_address": {"type": "str", "required": True},
    "migration_ports": {"type": "str", "default": "49152-49215"},
    "method": {"type": "dict", "default": {}, "options": {"name": {"type": "str"}, **methods.argument_spec()}},
    "window_mb": {"type": "int"},
    "work_words": {"type": "int"},
    "rate_mb_per_s": {"type": "float"},
    "baseline_s": {"type": "float", "default": 0},
    "observation_s": {"type": "float"},
    "verify": {"type": "bool", "default": False},
    "end_guest": {"type": "bool", "default": False},
    "files_dir": {"type": "path"},
    "cpu_latency_us": {"type": "int"},
    "run_state": {"type": "str", "default": "keep", "choices": ["keep", "running"]},
    "prefetch_program": {"type": "path", "default": "/var/lib/libvirt/vcsp/prefetch.bpf.o"},
    "tls_dir": {"type": "path", "default": "/etc/pki/qemu/vcsp"},
    "timeout_s": {"type": "float", "default": 300},
    "total_timeout_s": {"type": "float"},
    "stall_timeout_s": {"type": "float", "default": 15},
    "force": {"type": "bool", "default": False},
}

# The options that name the guest and the hosts, each with its check.
ENDPOINTS = {
    "name": endpoints.name_problem,
    "source_uri": endpoints.uri_problem,
    "destination_uri": endpoints.uri_problem,
    "migration_address": endpoints.address_problem,
    "migration_ports": endpoints.ports_problem,
}
# Options that, if given, must be greater than 0 or must not be negative.
POSITIVE = ("window_mb", "rate_mb_per_s", "observation_s", "timeout_s", "total_timeout_s", "stall_timeout_s")
NOT_NEGATIVE = ("work_words", "baseline_s", "cpu_latency_us")


def problems(params: dict[str, Any]) -> list[str]:
    """Problems with the arguments, found before anything is touched."""
    found = endpoints.problems(params, ENDPOINTS)
    if params["source_uri"] == params["destination_uri"]:
        found.append(f"source_uri: {params['source_uri']} is the destination's, too; give the other host's")
    # Negated, so that NaN, which fails every comparison, is refused as well.
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
    """Points out settings that were options of their own before ``method`` existed."""

    def fail_json(self, msg: str, **values: Any) -> NoReturn:
        super().fail_json(msg=misplaced(self.params) or msg, **values)
        raise AssertionError  # fail_json does not return


def misplaced(given: dict[str, Any]) -> str | None:
    """What to write instead of settings given outside ``method``; None if there are none."""
    settings = {name: given[name] for name in methods.argument_spec() if name in given}
    if not settings:
        return None
    listed = ", ".join(f"{name}: {json.dumps(value)}" for name, value in settings.items())
    return f"{', '.join(settings)}: method settings; write method: {{{listed}}}"


def main() -> None:
    """Run the module."""
    module = Module(argument_spec=ARGUMENTS, supports_check_mode=True)
    if LIBVIRT_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("python3-libvirt"), exception=str(LIBVIRT_IMPORT_ERROR))
    wrong = problems(module.params)
    if wrong:
        module.fail_json(msg="; ".join(wrong))
    given = {**module.params, "method": methods.Method.of(module.params["method"])}
    files_dir = None if given["files_dir"] is None else Path(given["files_dir"])
    paths = {name: Path(given[name]) for name in ("prefetch_program", "tls_dir")}
    options = Options(**{**given, **paths, "files_dir": files_dir})
    migration = Migration(options, report=module.warn)
    started_at = now()
    try:
        if module.check_mode:
            module.exit_json(changed=migration.check())
        make_directory(module, files_dir)
        readings = migration.run()
    except MigrationError as error:
        module.fail_json(msg=str(error), phase=error.phase.value)
    except ConnectionFailed as error:
        module.fail_json(msg=str(error))
    found = build(options, readings)
    for caution in found["cautions"]:
        module.warn(caution)
    found |= deliver(found["files"], files_dir, module.warn)
    left_over = readings.quota_left_over or readings.settings_left_over
    changed = not readings.was_home or left_over or readings.resumed
    module.exit_json(changed=changed, started_at=started_at, ended_at=now(), **found)


def make_directory(module: AnsibleModule, directory: Path | None) -> None:
    """Make the folder for the files, while failing costs nothing yet."""
    try:
        if directory is not None:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        module.fail_json(msg=f"files_dir: {directory} cannot be made: {error.strerror}")


def deliver(files: dict[str, bytes], directory: Path | None, warn: Callable[[str], None]) -> dict[str, Any]:
    """Put the files where the caller wants them: into a folder, or into the return value."""
    if directory is None:
        packed = {name: base64.b64encode(content).decode() for name, content in files.items()}
        return {"files": packed, "stored_files": []}
    stored = []
    for name, content in files.items():
        path = directory / f"{name}.gz"
        try:
            path.write_bytes(content)
        except OSError as error:  # the measurements are worth more than their time series
            warn(f"{path} could not be written: {error}")
        else:
            stored.append(str(path))
    return {"files": {}, "stored_files": stored}


def now() -> str:
    """The current time, ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


if __name__ == "__main__":
    main()
