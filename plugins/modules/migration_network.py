#!/usr/bin/python
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: migration_network
short_description: Let a source's migrations through to this host, and put that back
version_added: 0.1.0
description:
  - Runs on the destination of a pair. Lets the source, and nobody else, through to the migration ports, in every table
    of nftables that may drop what comes in, and in ufw where that is active; and adds a route to the source alone on
    which every packet is acknowledged at once, without which prefetching gains less.
  - Changes nothing that is there. What it adds is marked, by the comment C(vcsp.testbed) or by the routing protocol 86,
    and O(state=absent) takes away all of that and nothing else. Rules of nftables and the route do not survive a
    restart of the host, a rule of ufw does.
author:
  - vcsp.testbed contributors (!UNKNOWN)
options:
  state:
    description: Whether migrations are let through, or all is as it was before.
    type: str
    choices: [present, absent]
    default: present
  peer:
    description: The source's address on the migration network.
    type: str
  address:
    description: This host's address there.
    type: str
  ports:
    description: TCP ports on which this host listens for migrations, the first and the last one.
    type: str
    default: 49152-49215
extends_documentation_fragment: [vcsp.testbed.attributes]
attributes:
  check_mode:
    description: Only looks, and returns what it would run.
    support: full
seealso:
  - module: vcsp.testbed.pair_info
"""

EXAMPLES = r"""
- name: Let node1's migrations through to node2
  vcsp.testbed.migration_network:
    peer: 192.0.2.11
    address: 192.0.2.12
  delegate_to: node2

- name: Put that back
  vcsp.testbed.migration_network:
    state: absent
  delegate_to: node2
"""

RETURN = r"""
commands:
  description: What was run, or would have been in check mode.
  type: list
  elements: str
  returned: success
"""

import shlex
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vcsp.testbed.plugins.module_utils._host import endpoints, migration_network
from ansible_collections.vcsp.testbed.plugins.module_utils._host.migration_network import NetworkError, Way, run

ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "peer": {"type": "str"},
    "address": {"type": "str"},
    "ports": {"type": "str", "default": "49152-49215"},
}
CHECKS = {
    "peer": endpoints.address_problem,
    "address": endpoints.address_problem,
    "ports": endpoints.ports_problem,
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS, required_if=[("state", "present", ["peer", "address"])], supports_check_mode=True
    )
    given = module.params
    wrong = endpoints.problems(given, CHECKS)
    if wrong:
        module.fail_json(msg="; ".join(wrong))
    try:
        if given["state"] == "absent":
            commands = migration_network.to_put_back()
            if not module.check_mode:
                for command in commands:
                    run(command)
        else:
            commands = let_through(module, Way(given["peer"], given["address"], given["ports"]))
    except NetworkError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(commands), commands=[shlex.join(command) for command in commands])


def let_through(module: AnsibleModule, way: Way) -> list[list[str]]:
    """Open the firewall, which a migration needs, and add the route, which it can do without."""
    commands = migration_network.to_let_through(way)
    if not module.check_mode:
        for command in commands:
            run(command)
    try:
        for command in migration_network.to_acknowledge(way):
            if not module.check_mode:
                run(command)
            commands.append(command)
    except NetworkError as error:
        module.warn(f"no route with quickack could be added: {error}")
    return commands


if __name__ == "__main__":
    main()
