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
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vcsp.testbed.plugins.module_utils._lab.lab import Lab, LabError
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.spec import SpecError, argument_spec, of_arguments


def main() -> None:
    """Run the module."""
    state = {"type": "str", "choices": ["present", "absent"], "default": "present"}
    module = AnsibleModule(argument_spec={"state": state, **argument_spec()}, supports_check_mode=True)
    os.umask(os.umask(0o022) | 0o022)  # whatever the caller's, nobody else may write what is made here
    done: list[str] = []
    try:
        lab = Lab(of_arguments(module.params), run=module.run_command)
        lab.check()
        for step in lab.leftovers() if module.params["state"] == "absent" else lab.steps():
            done.append(step.what)
            if not module.check_mode:
                step.do()
    except (SpecError, LabError, OSError) as error:
        module.fail_json(msg=str(error), steps=done)
    module.exit_json(changed=bool(done), steps=done)


if __name__ == "__main__":
    main()
