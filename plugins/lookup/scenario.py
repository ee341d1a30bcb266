# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: scenario
short_description: Read, check and normalise scenario files
version_added: 0.1.0
description:
  - Returns each scenario with every default filled in and every method as a mapping with all its settings.
  - Refuses a scenario that does not exist or cannot be run, and lists all its problems with their places.
author:
  - vcsp.testbed contributors (!UNKNOWN)
options:
  _terms:
    description:
      - Scenarios by name or by path.
      - A term that contains C(/) or ends in C(.yml) or C(.yaml) is a path, relative to the current directory.
      - Any other term is a name. V(quick) is the first C(scenarios/quick.yml) found in the current directory, the
        playbook's directory, the parent of that, and this collection.
    type: list
    elements: str
    required: true
seealso:
  - plugin: vcsp.testbed.scenario
    plugin_type: filter
  - plugin: vcsp.testbed.trials
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read the default experiment
  ansible.builtin.set_fact:
    experiment_scenario: "{{ lookup('vcsp.testbed.scenario', 'quick') }}"

- name: Read a scenario by its path
  ansible.builtin.set_fact:
    experiment_scenario: "{{ lookup('vcsp.testbed.scenario', '/srv/experiments/mine.yml') }}"
"""

RETURN = r"""
_raw:
  description: The normalised scenarios; see P(vcsp.testbed.scenario#filter).
  type: list
  elements: dict
"""

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.gate import ScenarioError, read, resolve


class LookupModule(LookupBase):
    """Scenario names or paths in, normalised scenarios out."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Return the normalised scenario of each term.

        :raises AnsibleLookupError: one does not exist or cannot be run; the message lists every problem.
        """
        self.set_options(var_options=variables, direct=kwargs)
        playbook_dir = Path((variables or {}).get("playbook_dir", "."))
        collection = Path(__file__).resolve().parents[2]
        folders = [place / "scenarios" for place in (Path(), playbook_dir, playbook_dir / "..", collection)]
        try:
            return [read(resolve(str(term), folders)) for term in terms]
        except ScenarioError as error:
            raise AnsibleLookupError(f"This scenario cannot be run:\n{error}") from None
