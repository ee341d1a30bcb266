#!/usr/bin/python
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: lab
short_description: Set up or remove the embedded lab of two virtual hosts
version_added: 0.1.0
description:
  - Sets up two virtual hosts on this machine from Linux namespaces, joined by an emulated migration link and by a
    management network, and repairs what is missing.
  - Needs the files that the role P(vcsp.testbed.local_lab#role) puts into O(state_dir); use the role.
  - Removes only what it made itself.
author:
  - vcsp.testbed contributors (!UNKNOWN)
options:
  state:
    description:
      - V(present) sets up and repairs, and restarts the hosts if the files in O(state_dir) are not those that they were
        booted with. V(absent) removes the lab.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment: [vcsp.testbed.lab, vcsp.testbed.attributes]
attributes:
  check_mode:
    description: Predicts every step, from the files in O(state_dir) as they are.
    support: full
seealso:
  - module: vcsp.testbed.lab_info
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
  description: What was done, or in check mode what would be done.
  type: list
  elements: str
  returned: success
  sample: [network namespace vcsp-source, host source]
link:
  description:
    - The migration link, as O(rate_mbit), O(delay_us), O(queue) and O(congestion_control) ask for it. A link that falls
      short of what was asked for is refused, but for the default one, of which warnings say so. A warning also says if
      it takes much of a processor.
    - Its C(proof) is what it was seen to do with every processor busy; medians of three attempts. C(ping_us) and
      C(page_us) are the times of an exchange of 16 bytes for 16 and for 4104, C(bulk_mbit_per_s) is the rate of a
      stream, and C(cost_cores) what the link's process takes for it. Null in check mode if nothing is known.
  type: dict
  returned: when O(state=present)
  sample:
    rate_mbit: 1000
    delay_us: 100
    queue: fair
    congestion_control: cubic
    proof: {ping_us: 201.1, page_us: 236, bulk_mbit_per_s: 964, cost_cores: 0.15, proved_at: "2026-01-31T12:00:00Z"}
"""

import os
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vcsp.testbed.plugins.module_utils._lab.lab import Lab
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.spec import SpecError, argument_spec, of_arguments
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.step import LabError


def main() -> None:
    """Run the module."""
    state = {"type": "str", "choices": ["present", "absent"], "default": "present"}
    module = AnsibleModule(argument_spec={"state": state, **argument_spec()}, supports_check_mode=True)
    os.umask(os.umask(0o022) | 0o022)  # whatever the caller's, nobody else may write what is made here
    done: list[str] = []
    try:
        lab = Lab(of_arguments(module.params), run=module.run_command)
        lab.check()
        present = module.params["state"] == "present"
        for step in lab.steps() if present else lab.leftovers():
            if not module.check_mode:
                step.do()
            if step.changes:
                done.append(step.what)
    except (SpecError, LabError, OSError) as error:
        module.fail_json(msg=str(error), steps=done)
    for remark in (lab.link.remarks() or []) if present else []:
        module.warn(f"The migration link: {remark}.")
    link = {**asdict(lab.spec.link), "proof": lab.link.proof()} if present else None
    module.exit_json(changed=bool(done), steps=done, link=link)


if __name__ == "__main__":
    main()
