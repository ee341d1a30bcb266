#!/usr/bin/python
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: pair_info
short_description: Whether a guest can move between two hosts, and what the network between them does
version_added: 0.1.0
description:
  - Runs first on the destination, which then answers on its migration address for a minute or until it was looked at,
    and then on the source, which measures the way there as a migration would go it.
  - Needs nothing on the hosts but Python, so it can be used before they are prepared. With libvirt installed it also
    finds out whether the destination reaches the source's.
  - What would stop a migration is returned in RV(problems), all of it at once, and is no failure of the module.
author:
  - vcsp.testbed contributors (!UNKNOWN)
options:
  part:
    description: The host's part in the migration.
    type: str
    choices: [source, destination]
    required: true
  migration_address:
    description: The destination's address on the migration network.
    type: str
    required: true
  migration_ports:
    description: TCP ports on which the destination listens for migrations, the first and the last one.
    type: str
    default: 49152-49215
  source_uri:
    description: libvirt URI of the source, as seen from the destination.
    type: str
    required: true
  own_address:
    description: The source's own address on the migration network, from which it should reach the destination.
    type: str
  other:
    description: What the module returned on the destination, for the source.
    type: dict
extends_documentation_fragment: [vcsp.testbed.attributes]
attributes:
  check_mode:
    description: Only looks.
    support: full
seealso:
  - module: vcsp.testbed.testbed_info
"""

EXAMPLES = r"""
- name: Look at the destination, and let it answer
  vcsp.testbed.pair_info:
    part: destination
    migration_address: 192.0.2.12
    source_uri: qemu+ssh://root@node1/system
  delegate_to: node2
  register: destination

- name: Look at the source
  vcsp.testbed.pair_info:
    part: source
    migration_address: 192.0.2.12
    source_uri: qemu+ssh://root@node1/system
    other: "{{ destination }}"
  delegate_to: node1
  register: pair

- name: Say what would stop a migration
  ansible.builtin.assert:
    that: pair.problems | length == 0
    fail_msg: "{{ pair.problems | join('\n') }}"
"""

RETURN = r"""
problems:
  description: What would stop a migration, each with what to do. On the source, those of the destination, too.
  type: list
  elements: str
  returned: success
link:
  description:
    - The migration network as it was found, null if the source does not get through. C(rate_mbit), C(delay_us) and
      C(queue) are null, since nothing was asked for.
    - C(mtu) is the largest packet, C(quickack) whether the destination's route to the source acknowledges every packet
      at once, null if that cannot be known.
    - C(proof) is what was measured over TCP, C(ping_us) the median round trip of 16 bytes against 16, C(page_us) of 16
      bytes against a page with its header, C(bulk_mbit_per_s) the rate of a stream to the destination.
  type: dict
  returned: on the source
clock_offset_ms:
  description: The destination's clock minus the source's, null if the source does not get through.
  type: float
  returned: on the source
port:
  description: TCP port on which the destination answers; null if it does not.
  type: int
  returned: on the destination
host:
  description: Which host the destination is.
  type: dict
  returned: on the destination
source:
  description: The host to which O(source_uri) leads; null if that is not known.
  type: dict
  returned: on the destination
source_reason:
  description: Why it is not known.
  type: str
  returned: on the destination
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vcsp.testbed.plugins.module_utils._host import endpoints, pair

ARGUMENTS: dict[str, dict[str, Any]] = {
    "part": {"type": "str", "choices": ["source", "destination"], "required": True},
    "migration_address": {"type": "str", "required": True},
    "migration_ports": {"type": "str", "default": "49152-49215"},
    "source_uri": {"type": "str", "required": True},
    "own_address": {"type": "str"},
    "other": {"type": "dict"},
}
CHECKS = {
    "migration_address": endpoints.address_problem,
    "migration_ports": endpoints.ports_problem,
    "source_uri": endpoints.uri_problem,
    "own_address": endpoints.address_problem,
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS, required_if=[("part", "source", ["other"])], supports_check_mode=True
    )
    given = module.params
    wrong = endpoints.problems(given, CHECKS)
    if wrong:
        module.fail_json(msg="; ".join(wrong))
    where = given["migration_address"], given["migration_ports"]
    if given["part"] == "destination":
        module.exit_json(changed=False, **asdict(pair.from_destination(*where, given["source_uri"])))
    found, problems = pair.from_source(*where, given["own_address"], given["source_uri"], given["other"])
    seen: dict[str, Any] = {"link": None, "clock_offset_ms": None}
    if found is not None:
        seen = {"link": pair.record_of(found), "clock_offset_ms": found.clock_offset_s[0] * 1000}
        for warning in pair.warnings(found):
            module.warn(warning)
    module.exit_json(changed=False, problems=problems, **seen)


if __name__ == "__main__":
    main()
