# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: trials
short_description: List the trials of a scenario in the order they run
version_added: 0.1.0
description:
  - Each repeat runs every workload with every method once, in an order derived from the seed and the number of the
    repeat.
  - The same scenario always yields the same list.
author:
  - vcsp.testbed contributors (!UNKNOWN)
options:
  _input:
    description: A scenario; checked and normalised first if necessary.
    type: raw
    required: true
seealso:
  - plugin: vcsp.testbed.scenario
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the order of the quick experiment
  ansible.builtin.debug:
    msg: "{{ lookup('vcsp.testbed.scenario', 'quick') | vcsp.testbed.trials | map(attribute='id') }}"
"""

RETURN = r"""
_value:
  description: The trials.
  type: list
  elements: dict
  contains:
    id:
      description: Name of the trial and of its directory, unique within the scenario.
      type: str
      sample: r01-0064mb-sequential-vcsp-prefetching
    index:
      description: Position in the order, from 1.
      type: int
    total:
      description: Number of trials in the scenario.
      type: int
    repeat:
      description: The repeat that the trial belongs to, from 1.
      type: int
    workload:
      description: C(window_mb), C(pattern) and C(work_per_page) of the workload.
      type: dict
    method:
      description: C(name) of the method, and all its settings (docs/methods.md).
      type: dict
    guest:
      description: C(memory_mb), C(vcpus) and C(thp) of the guest.
      type: dict
    link:
      description: C(rate_mbit) of the migration link.
      type: dict
    baseline_s:
      description: How long the guest is observed before the migration, in seconds.
      type: float
    observation_s:
      description: How long the guest is observed from its resume on the destination, in seconds.
      type: float
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.gate import ScenarioError, load
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.trials import trials as trials_of


def trials(value: str | Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the trials of a scenario in the order they run.

    :raises AnsibleFilterError: the scenario cannot be run; the message lists every problem.
    """
    try:
        return trials_of(load(value))
    except ScenarioError as error:
        raise AnsibleFilterError(f"This scenario cannot be run:\n{error}") from None


class FilterModule:
    """This file's filters, as Ansible looks them up."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return name -> filter."""
        return {"trials": trials}
