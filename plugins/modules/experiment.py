#!/usr/bin/python
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: experiment
short_description: Begin or resume an experiment
version_added: 0.1.0
description:
  - Makes the directory of an experiment with its C(experiment.json), links it as C(latest), and says which trials are
    to be run.
  - An experiment that exists is resumed. Trials with a valid record are not run again.
  - Holds two locks in the name of the running C(ansible-playbook), one of the experiment and one of the machine,
    because two experiments at once would measure each other.
  - Refuses a directory that is not writable, that holds anything else, or an experiment with other settings.
author:
  - vcsp.testbed contributors (!UNKNOWN)
options:
  state:
    description:
      - V(present) begins or resumes and takes the locks. V(absent) gives the locks back and leaves the results alone.
      - Locks of an C(ansible-playbook) that has ended count as given back.
    type: str
    choices: [present, absent]
    default: present
  results_dir:
    description: Directory that holds a directory for each experiment. Made if need be.
    type: path
    required: true
  experiment_id:
    description:
      - Name of the experiment and of its directory; give that of an earlier one to resume it.
      - Without it, or empty, a new one is made of the scenario's name and the time, such as V(quick-20260131-235959).
      - At most 100 letters, digits, V(.), V(_) and V(-), with a letter or digit first.
      - Required if O(state=absent).
    type: str
  scenario:
    description:
      - What to run; one that is not normalised yet is checked and normalised first.
      - Required if O(state=present).
    type: dict
  provenance:
    description: Facts to keep in C(experiment.json). Those of the C(controller) are added.
    type: dict
    default: {}
  lock_path:
    description:
      - Path of the machine's lock.
      - Without it C(/run/lock/vcsp-testbed.lock), or in the directory for temporary files where that is not writable.
    type: path
attributes:
  check_mode:
    description: In check mode everything is checked and returned, but nothing is made, linked or locked.
    support: full
  diff_mode:
    description: Has no difference to show.
    support: none
  action:
    description: Runs on the controller.
    support: full
seealso:
  - module: vcsp.testbed.record
  - module: vcsp.testbed.lock
  - plugin: vcsp.testbed.scenario
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Begin the experiment, or go on with it
  vcsp.testbed.experiment:
    results_dir: results
    experiment_id: "{{ experiment_id | default('') }}"
    scenario: "{{ lookup('vcsp.testbed.scenario', 'quick') }}"
  register: experiment

- name: Let others in
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
  description: Whether the experiment existed already.
  type: bool
  returned: when O(state=present)
pending:
  description: The trials to run, in order, as P(vcsp.testbed.trials#filter) lists them.
  type: list
  elements: dict
  returned: when O(state=present)
done:
  description: The ids of the trials that have a valid record.
  type: list
  elements: str
  returned: when O(state=present)
total:
  description: Number of trials of the scenario.
  type: int
  returned: when O(state=present)
scenario_hash:
  description: SHA-256 of the normalised scenario.
  type: str
  returned: when O(state=present)
provenance:
  description: O(provenance) with the C(controller) added.
  type: dict
  returned: when O(state=present)
"""
