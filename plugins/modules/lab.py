#!/usr/bin/python
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: lab
short_description: Set up or remove the embedded lab of two virtual hosts
version_added: 0.1.0
description:
  - Sets up two virtual hosts on this machine from Linux namespaces, joined by a migration link shaped with tbf and by a
    management network, and repairs what is missing.
  - Needs the files that the role P(vcsp.testbed.local_lab#role) puts into O(state_dir); use the role.
  - Removes only what it made itself.
author:
  - vcsp.testbed contributors (!UNKNOWN)
options:
  state:
    description:
      - V(present) sets up and repairs, V(restarted) also restarts the hosts, V(absent) removes the lab.
    type: str
    choices: [present, restarted, absent]
    default: present
  name:
    description: Prefix of every namespace, device and cgroup of the lab, at most 11 letters, digits and C(-).
    type: str
    default: vcsp
  state_dir:
    description:
      - Directory that holds C(boot.sh), which PID 1 of each host runs, and a folder for each host.
      - Must hold nothing but the lab's files, because the role removes it with everything in it; others are refused.
    type: path
    default: /var/lib/vcsp-lab
  run_dir:
    description: Directory for the lab's runtime state. Must hold nothing else, either.
    type: path
    default: /run/vcsp-lab
  owner:
    description: Checkout that the lab belongs to. The module refuses a running lab of another checkout.
    type: path
    required: true
  hosts:
    description: The two hosts.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the host, at most 15 letters, digits and C(-).
        type: str
        required: true
      management_address:
        description: IPv4 address on the management network.
        type: str
        required: true
      migration_address:
        description: IPv4 address on the migration link.
        type: str
        required: true
  controller_address:
    description: IPv4 address of this machine on the management network.
    type: str
    required: true
  prefix_length:
    description: Prefix length of both networks.
    type: int
    default: 24
  rate_mbit:
    description: Rate of the migration link in Mbit/s, in both directions.
    type: int
    default: 1000
  cpu_percent:
    description:
      - Share of this machine's processors that each host may use, in percent; V(100) sets no limit.
      - Needs the CPU controller of cgroups. cgroup v1 refuses a guest's vCPU quota that exceeds its host's share.
    type: int
    default: 100
extends_documentation_fragment: [vcsp.testbed.attributes]
attributes:
  check_mode:
    description: Can run in check mode and return what would be done.
    support: full
  diff_mode:
    description: Returns the steps as difference.
    support: none
"""

EXAMPLES = r"""
- name: Have the lab running
  vcsp.testbed.lab:
    owner: "{{ playbook_dir | dirname }}"
    controller_address: 198.18.0.1
    hosts:
      - {name: source, management_address: 198.18.0.11, migration_address: 198.18.1.11}
      - {name: destination, management_address: 198.18.0.12, migration_address: 198.18.1.12}

- name: Remove it
  vcsp.testbed.lab:
    state: absent
    owner: "{{ playbook_dir | dirname }}"
    controller_address: 198.18.0.1
    hosts:
      - {name: source, management_address: 198.18.0.11, migration_address: 198.18.1.11}
      - {name: destination, management_address: 198.18.0.12, migration_address: 198.18.1.12}
"""

RETURN = r"""
steps:
  description: What was done, or in check mode the first things that would be done.
  type: list
  elements: str
  returned: success
  sample: [network namespace vcsp-source, host source]
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vcsp.testbed.plugins.module_utils._lab.lab import Lab, LabError
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.spec import Host, Spec, problems


def main() -> None:
    """Run the module."""
    host = {
        "name": {"type": "str", "required": True},
        "management_address": {"type": "str", "required": True},
        "migration_address": {"type": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "restarted", "absent"], "default": "present"},
            "name": {"type": "str", "default": "vcsp"},
            "state_dir": {"type": "path", "default": "/var/lib/vcsp-lab"},
            "run_dir": {"type": "path", "default": "/run/vcsp-lab"},
            "owner": {"type": "path", "required": True},
            "hosts": {"type": "list", "elements": "dict", "required": True, "options": host},
            "controller_address": {"type": "str", "required": True},
            "prefix_length": {"type": "int", "default": 24},
            "rate_mbit": {"type": "int", "default": 1000},
            "cpu_percent": {"type": "int", "default": 100},
        },
        supports_check_mode=True,
    )
    wanted = dict(module.params)
    state = wanted.pop("state")
    if len(wanted["hosts"]) != 2:
        module.fail_json(msg="hosts: the lab has exactly two hosts, a source and a destination")
    wanted["hosts"] = tuple(Host(**item) for item in wanted["hosts"])
    for key in ("state_dir", "run_dir"):
        wanted[key] = Path(wanted[key])
    spec = Spec(**wanted)
    wrong = problems(spec)
    if wrong:
        module.fail_json(msg="; ".join(wrong))
    if os.geteuid() != 0:
        module.fail_json(
            msg="the embedded lab needs root: run as root or with sudo, or use -i inventory/lab with real hosts"
        )
    os.umask(os.umask(0o022) | 0o022)  # whatever the caller's, nobody else may write what is made here
    lab = Lab(spec, run=module.run_command)
    done = []
    try:
        lab.check_owner()
        if state == "restarted":
            done.append("end of both hosts")
            if not module.check_mode:
                lab.stop_hosts()
        for step in lab.leftovers() if state == "absent" else lab.steps():
            done.append(step.what)
            if module.check_mode:
                break  # the next steps depend on this one
            step.do()
    except (LabError, OSError) as error:
        module.fail_json(msg=str(error), steps=done)
    module.exit_json(changed=bool(done), steps=done)


if __name__ == "__main__":
    main()
