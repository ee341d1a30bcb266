#!/usr/bin/python
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: experiment
short_description: Begin or resume an experiment
version_added: 0.1.0
description:
  - Creates the directory of an experiment with its C(experiment.json), links it as C(latest), and returns the trials
    still to run. Creates O(results_dir) if it does not exist.
  - An existing experiment is resumed. Trials with a valid record are not run again.
  - Takes two locks on behalf of the running C(ansible-playbook), one on the experiment and one on the machine, because
    concurrent experiments would disturb each other's measurements.
  - Shares the trials out over O(pairs), each of which gets whole repeats.
  - With O(stacks), each trial is run once on every stack, by the stack's own pairs.
  - Refuses a directory that is not writable, holds anything else, or holds an experiment with other settings, and pairs
    of unlike hosts, whose trials would not be pooled.
author:
  - vcsp.testbed contributors (!UNKNOWN)
options:
  state:
    description:
      - V(present) begins or resumes the experiment and takes the locks. V(absent) releases the locks and keeps the
        results, and needs O(experiment_id).
      - Locks of an C(ansible-playbook) that has ended count as released.
    type: str
    choices: [present, absent]
    default: present
  scenario:
    description:
      - The scenario to run; checked and normalised first if necessary.
      - Required if O(state=present).
    type: dict
  provenance:
    description: Facts to store in C(experiment.json). Those about the C(controller) and the C(pairs) are added.
    type: dict
    default: {}
  pairs:
    description:
      - The pairs of hosts that run the trials, each name with facts about its C(source) and C(destination). Empty where
        there is one pair that has no name.
      - A repeat goes to the pair that began it, if that is among them, else to the one that has the fewest, so that the
        same list comes out whenever nothing has been measured between.
    type: dict
    default: {}
  side_by_side:
    description: Whether the pairs measure at the same time. Pairs that share a machine are refused then.
    type: bool
    default: false
extends_documentation_fragment:
  - vcsp.testbed.experiment
  - vcsp.testbed.attributes
  - vcsp.testbed.attributes.controller
attributes:
  check_mode:
    description: In check mode everything is checked and returned, but nothing is created, linked or locked.
    support: full
seealso:
  - module: vcsp.testbed.experiment_info
  - module: vcsp.testbed.record
  - module: vcsp.testbed.lock
  - plugin: vcsp.testbed.scenario
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Begin or resume the experiment
  vcsp.testbed.experiment:
    results_dir: results
    experiment_id: "{{ experiment_id | default('') }}"
    scenario: "{{ lookup('vcsp.testbed.scenario', 'quick') }}"
  register: experiment

- name: Release the locks
  vcsp.testbed.experiment:
    state: absent
    results_dir: results
    experiment_id: "{{ experiment.experiment_id }}"
"""

RETURN = r"""
experiment_id:
  description: Name of the experiment.
  type: str
  returned: success
experiment_dir:
  description: Absolute path of its directory.
  type: str
  returned: when O(state=present)
resumed:
  description: Whether the experiment already existed.
  type: bool
  returned: when O(state=present)
pending:
  description:
    - The trials to run, in order, as P(vcsp.testbed.trials#filter) lists them. With O(pairs), each also has the name of
      its C(pair), and with O(stacks) of its C(stack), whose trials are left out if O(pairs) has none of it.
  type: list
  elements: dict
  returned: when O(state=present)
done:
  description: Ids of the trials that have a valid record, and of the RV(lost) ones.
  type: list
  elements: str
  returned: when O(state=present)
lost:
  description:
    - Ids of the trials that did not end inside their observation window. That is an outcome, so they are not run again.
  type: list
  elements: str
  returned: when O(state=present)
total:
  description: Number of trials in the scenario.
  type: int
  returned: when O(state=present)
scenario_hash:
  description: SHA-256 of the normalised scenario.
  type: str
  returned: when O(state=present)
provenance:
  description: O(provenance) with the C(controller) and the C(pairs) added.
  type: dict
  returned: when O(state=present)
"""
