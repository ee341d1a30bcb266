#!/usr/bin/python
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: saved_guest
short_description: Boot a guest under test once, save it with its workload running, restore it for trials
version_added: 0.1.0
description:
  - Keeps saved states of a guest whose workload is running, so that every trial starts from the same memory.
  - Only destroys or replaces guests that carry the testbed's mark in their metadata.
author:
  - vcsp.testbed contributors (!UNKNOWN)
options:
  name:
    description: Name of the guest's libvirt domain.
    type: str
    required: true
  state:
    description:
      - V(saved) creates the saved state of O(workload) if it does not exist.
      - V(running) restores it from O(directory), or boots the guest of O(xml) and starts O(workload) in it, replacing a
        guest of the testbed with that name.
      - V(calibrated) does the same, finds the work that gives the workload its rate on this machine as it is now,
        returns it as RV(calibration), and ends the guest. It changes nothing that stays.
      - V(absent) destroys the guest, waits for a migration of it to end with it, and keeps its saved states.
    type: str
    choices: [saved, running, calibrated, absent]
    required: true
  uri:
    description: libvirt URI of the QEMU driver.
    type: str
    default: qemu:///system
  directory:
    description:
      - Directory of the saved states of one guest, with a folder for each O(number), which has one file per workload
        and one of the booted guest.
    type: path
  xml:
    description: Domain XML of the guest.
    type: str
  workload:
    description: What the workload program does.
    type: dict
    suboptions:
      window_mb:
        description: Working window, in MB.
        type: int
        required: true
      pattern:
        description: Order of the walk.
        type: str
        choices: [sequential, random, zipf]
        default: sequential
      rate_mb_per_s:
        description:
          - The rate that O(state=calibrated) brings the guest to, all its virtual CPUs together, in MB/s. A rate that
            it does not reach is an error, which names the one that it does.
          - Without it, the rate is 85 MB/s, the paper's, or the highest that the guest reaches.
        type: float
      work_per_page:
        description:
          - How many times each visit hashes the page, instead of what gives a rate.
          - Without it, 20 times in the saved state.
        type: int
      writes_percent:
        description: How many of a hundred visits write to the page; the others only read.
        type: int
        default: 100
      idle_mb:
        description: Memory that the program has in use beside the window, in MB, and only touches to verify it.
        type: int
        default: 0
  number:
    description: Which of the workload's saved states, from 1. Each number is a boot of its own.
    type: int
    default: 1
  boot_timeout_s:
    description: Time limit for the guest to boot, in seconds.
    type: float
    default: 300
extends_documentation_fragment: [vcsp.testbed.attributes]
attributes:
  check_mode:
    description: Refuses what would be refused before a guest is touched, and otherwise reports the change.
    support: partial
    details: Whether the guest boots, starts its workload or can be restored is only known when it is tried.
requirements:
  - python3-libvirt
"""

EXAMPLES = r"""
- name: Save the state of an 8 MB workload
  vcsp.testbed.saved_guest:
    name: vcsp-guest
    state: saved
    directory: /var/lib/libvirt/vcsp/states/512mb
    xml: "{{ lookup('ansible.builtin.template', 'domain.xml.j2') }}"
    workload: {window_mb: 8}

- name: Find the work that has it walk at 30 MB/s
  vcsp.testbed.saved_guest:
    name: vcsp-guest
    state: calibrated
    directory: /var/lib/libvirt/vcsp/states/512mb
    workload: {window_mb: 8, rate_mb_per_s: 30}

- name: Boot a bare guest and start the workload in it
  vcsp.testbed.saved_guest:
    name: vcsp-guest
    state: running
    xml: "{{ lookup('ansible.builtin.template', 'domain.xml.j2') }}"
    workload: {window_mb: 8}

- name: Restore it
  vcsp.testbed.saved_guest:
    name: vcsp-guest
    state: running
    directory: /var/lib/libvirt/vcsp/states/512mb
    workload: {window_mb: 8}
"""

RETURN = r"""
path:
  description: File of the saved state.
  type: str
  returned: unless O(state=absent), or without O(directory)
calibration:
  description: The target, the rate reached with its 95 % interval, and the work that gives it.
  type: dict
  returned: with O(state=calibrated), but not in check mode
  sample:
    target_mb_per_s: 30.0
    rate_mb_per_s: 30.2
    low_mb_per_s: 29.9
    high_mb_per_s: 30.5
    work_words: 31400
    took_s: 4.1
"""

import os
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.vcsp.testbed.plugins.module_utils._guest import saved_guest
from ansible_collections.vcsp.testbed.plugins.module_utils._guest.calibration import PAPER_MB_PER_S, Calibration
from ansible_collections.vcsp.testbed.plugins.module_utils._host import endpoints
from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import ConnectionFailed, connect
from ansible_collections.vcsp.testbed.plugins.module_utils._libvirt import LIBVIRT_IMPORT_ERROR, libvirt
from ansible_collections.vcsp.testbed.plugins.module_utils._migration import owner

END_S = 30.0  # how long a migration may take to end when its guest is gone


def main() -> None:
    """Run the module."""
    workload = {
        "window_mb": {"type": "int", "required": True},
        "pattern": {"type": "str", "choices": ["sequential", "random", "zipf"], "default": "sequential"},
        "rate_mb_per_s": {"type": "float"},
        "work_per_page": {"type": "int"},
        "writes_percent": {"type": "int", "default": 100},
        "idle_mb": {"type": "int", "default": 0},
    }
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["saved", "running", "calibrated", "absent"], "required": True},
            "uri": {"type": "str", "default": "qemu:///system"},
            "directory": {"type": "path"},
            "xml": {"type": "str"},
            "workload": {"type": "dict", "options": workload},
            "number": {"type": "int", "default": 1},
            "boot_timeout_s": {"type": "float", "default": 300},
        },
        required_if=[
            ("state", "saved", ["directory", "xml", "workload"]),
            ("state", "running", ["workload"]),
            ("state", "running", ["directory", "xml"], True),
            ("state", "calibrated", ["workload"]),
            ("state", "calibrated", ["directory", "xml"], True),
        ],
        supports_check_mode=True,
    )
    if LIBVIRT_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("python3-libvirt"), exception=str(LIBVIRT_IMPORT_ERROR))
    for option, problem in (
        ("name", endpoints.name_problem(module.params["name"])),
        ("uri", endpoints.uri_problem(module.params["uri"])),
    ):
        if problem is not None:
            module.fail_json(msg=f"{option}: {problem}")
    os.umask(os.umask(0o022) | 0o022)  # whatever the caller's, others must not write to what is created here
    # sshd hangs up when the controller goes away: unwind, so that no guest is left behind.
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        module.exit_json(**act(module))
    except (saved_guest.GuestError, ConnectionFailed, TimeoutError, libvirt.libvirtError) as error:
        module.fail_json(msg=str(error))


def act(module: AnsibleModule) -> dict[str, Any]:
    """Bring about the requested state; returns the module's result."""
    params = module.params
    connection = connect(params["uri"])
    name, state = params["name"], params["state"]
    if state == "absent":
        if module.check_mode:
            return {"changed": saved_guest.find(connection, name) is not None}
        changed = saved_guest.remove(connection, name)
        owner.await_end(name, END_S)
        return {"changed": changed}
    workload = saved_guest.Workload(**params["workload"])
    if workload.work_per_page is not None and (state == "calibrated" or workload.rate_mb_per_s is not None):
        module.fail_json(msg="workload.work_per_page: is given, so there is no rate to calibrate")
    if params["number"] < 1:
        module.fail_json(msg=f"number: is {params['number']}, but states are counted from 1")
    if params["directory"] is None:
        return without_states(module, connection, workload)
    path = Path(params["directory"]) / str(params["number"]) / workload.file_name
    if state == "saved" and path.exists():
        return {"changed": False, "path": str(path)}
    if state == "calibrated":
        if module.check_mode:
            saved_guest.check_restore(connection, name, path)
            return {"changed": False, "path": str(path)}
        saved_guest.restore(connection, name, path)
        return {"path": str(path), **calibrated(module, connection, workload)}
    if state == "running":
        (saved_guest.check_restore if module.check_mode else saved_guest.restore)(connection, name, path)
    elif module.check_mode:
        saved_guest.check_make(connection, name, params["xml"])
    else:
        saved_guest.make(connection, name, params["xml"], path, workload, params["boot_timeout_s"])
    return {"changed": True, "path": str(path)}


def without_states(module: AnsibleModule, connection: Any, workload: saved_guest.Workload) -> dict[str, Any]:
    """Bring about the requested state of a guest that is booted each time; returns the module's result."""
    name, xml, calibrates = module.params["name"], module.params["xml"], module.params["state"] == "calibrated"
    if module.check_mode:
        saved_guest.check_make(connection, name, xml)
        return {"changed": not calibrates}
    saved_guest.start(connection, name, xml, workload, module.params["boot_timeout_s"])
    return calibrated(module, connection, workload, saved_guest.BARE_WORD_S) if calibrates else {"changed": True}


def calibrated(
    module: AnsibleModule, connection: Any, workload: saved_guest.Workload, word_s: float | None = None
) -> dict[str, Any]:
    """Calibrate the running guest, which is ended; returns the module's result."""
    found = saved_guest.calibrated(connection, module.params["name"], workload, word_s)
    warn_of(module, workload, found)
    return {"changed": False, "calibration": asdict(found)}


def warn_of(module: AnsibleModule, workload: saved_guest.Workload, found: Calibration) -> None:
    """Say what the user should know of a rate that is not the one expected."""
    what = f"the workload of {workload.window_mb} MB, {workload.pattern}, walks at {found.rate_mb_per_s:.1f} MB/s"
    interval = f"{found.low_mb_per_s:.1f} to {found.high_mb_per_s:.1f}"
    if workload.rate_mb_per_s is None and found.target_mb_per_s < PAPER_MB_PER_S:
        module.warn(
            f"{what} ({interval}), the most that this machine reaches, instead of the paper's {PAPER_MB_PER_S:g} MB/s"
        )
    elif not found.is_near:
        module.warn(
            f"{what} ({interval}) instead of {found.target_mb_per_s:g} MB/s: the machine is too busy to hold a rate"
        )


if __name__ == "__main__":
    main()
