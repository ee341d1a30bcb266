# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: scenario
short_description: Check and normalise a scenario
version_added: 0.1.0
description:
  - Returns the scenario with every default filled in and every method as a mapping with all its settings.
  - Refuses a scenario that cannot be run, and lists all its problems with their places.
  - A normalised scenario is returned unchanged.
author:
  - vcsp.testbed contributors (!UNKNOWN)
positional: source
options:
  _input:
    description: A scenario, as YAML text or as the mapping parsed from it.
    type: raw
    required: true
  source:
    description: Where the scenario comes from, for error messages.
    type: str
    default: scenario
seealso:
  - plugin: vcsp.testbed.scenario
    plugin_type: lookup
  - plugin: vcsp.testbed.trials
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show a scenario of your own with all its defaults
  ansible.builtin.debug:
    msg: "{{ {'name': 'mine', 'workloads': [{'window_mb': 8}], 'methods': ['vcsp']} | vcsp.testbed.scenario }}"
"""

RETURN = r"""
_value:
  description:
    - The normalised scenario, with the keys C(name), C(repeats), C(seed), C(guest), C(link), C(baseline_s),
      C(observation_s), C(workloads) and C(methods).
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.gate import ScenarioError, load


def scenario(value: str | Mapping[str, Any], source: str = "scenario") -> dict[str, Any]:
    """Return the normalised scenario.

    :raises AnsibleFilterError: it cannot be run; the message lists every problem.
    """
    try:
        return load(value, source)
    except ScenarioError as error:
        raise AnsibleFilterError(f"This scenario cannot be run:\n{error}") from None


class FilterModule:
    """This file's filters, as Ansible looks them up."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return name -> filter."""
        return {"scenario": scenario}
