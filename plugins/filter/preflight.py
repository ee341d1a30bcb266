# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: preflight
short_description: List why two hosts cannot run a scenario
version_added: 0.1.0
description:
  - Compares what a scenario needs with what M(vcsp.testbed.testbed_info) found on the source and the destination.
  - Every entry names the host, what it lacks, what needs it and what to do. An empty list means that nothing is
    missing.
author:
  - vcsp.testbed contributors (!UNKNOWN)
positional: source, destination
options:
  _input:
    description: A scenario; checked and normalised first if necessary.
    type: raw
    required: true
  source:
    description: Return value of M(vcsp.testbed.testbed_info) on the source.
    type: dict
    required: true
  destination:
    description: Return value of M(vcsp.testbed.testbed_info) on the destination.
    type: dict
    required: true
seealso:
  - module: vcsp.testbed.testbed_info
"""

EXAMPLES = r"""
- name: Refuse hosts that cannot run the scenario
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: >-
      {{ lookup('vcsp.testbed.scenario', 'quick')
         | vcsp.testbed.preflight(hostvars['source'].info, hostvars['destination'].info) }}
"""

RETURN = r"""
_value:
  description: The problems.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.gate import ScenarioError, load
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.preflight import preflight as problems_of


def preflight(value: str | Mapping[str, Any], source: Mapping[str, Any], destination: Mapping[str, Any]) -> list[str]:
    """Return every reason why the hosts cannot run the scenario.

    :raises AnsibleFilterError: the scenario itself cannot be run, or a host's facts are not a mapping.
    """
    for role, host in (("source", source), ("destination", destination)):
        if not isinstance(host, Mapping):
            raise AnsibleFilterError(
                f"preflight: {role} must be what vcsp.testbed.testbed_info returned, not {type(host).__name__}"
            )
    try:
        return problems_of(load(value), source, destination)
    except ScenarioError as error:
        raise AnsibleFilterError(f"This scenario cannot be run:\n{error}") from None


class FilterModule:
    """This file's filters, as Ansible looks them up."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return name -> filter."""
        return {"preflight": preflight}
