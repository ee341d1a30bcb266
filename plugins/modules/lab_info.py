#!/usr/bin/python
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: lab_info
short_description: Say whose embedded lab this machine has, and whether it runs
version_added: 0.1.0
description:
  - Fails with the reason where M(vcsp.testbed.lab) would refuse to touch the lab, be it because there can be no such
    lab, because it needs root, or because a running lab belongs to another checkout.
author:
  - vcsp.testbed contributors (!UNKNOWN)
extends_documentation_fragment: [vcsp.testbed.lab, vcsp.testbed.attributes]
attributes:
  check_mode:
    description: Only reads.
    support: full
seealso:
  - module: vcsp.testbed.lab
"""

EXAMPLES = r"""
- name: Refuse the lab of another checkout
  vcsp.testbed.lab_info:
    owner: "{{ playbook_dir | dirname }}"
    controller_address: 198.18.0.1
    hosts:
      - {name: source, management_address: 198.18.0.11, migration_address: 198.18.1.11}
      - {name: destination, management_address: 198.18.0.12, migration_address: 198.18.1.12}
"""

RETURN = r"""
owner:
  description: Checkout that the lab belongs to; null if there is no lab.
  type: str
  returned: success
running:
  description: Names of the hosts that run.
  type: list
  elements: str
  returned: success
  sample: [source, destination]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vcsp.testbed.plugins.module_utils._lab.lab import Lab
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.spec import SpecError, argument_spec, of_arguments
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.step import LabError


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        lab = Lab(of_arguments(module.params), run=module.run_command)
        lab.check()
        owner, running = lab.owner(), lab.running()
    except (SpecError, LabError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, owner=owner.get("checkout") if owner else None, running=running)


if __name__ == "__main__":
    main()
