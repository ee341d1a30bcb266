#!/usr/bin/python
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: experiment_info
short_description: Say whether an experiment can be begun or resumed, and how far it is
version_added: 0.1.0
description:
  - Fails with the reason where M(vcsp.testbed.experiment) would refuse to begin or resume the experiment, be it because
    the directory cannot be used, holds anything else or an experiment with other settings, or because another process
    holds the locks.
  - Returns the trials still to run and those done.
author:
  - vcsp.testbed contributors (!UNKNOWN)
options:
  scenario:
    description: The scenario; checked and normalised first if necessary.
    type: dict
    required: true
extends_documentation_fragment:
  - vcsp.testbed.experiment
  - vcsp.testbed.attributes
  - vcsp.testbed.attributes.controller
attributes:
  check_mode:
    description: Only reads.
    support: full
seealso:
  - module: vcsp.testbed.experiment
"""

EXAMPLES = r"""
- name: Look for trials without a valid record
  vcsp.testbed.experiment_info:
    results_dir: results
    experiment_id: quick-20260131-235959
    scenario: "{{ lookup('vcsp.testbed.scenario', 'quick') }}"
  register: standing

- name: Say how many there are
  ansible.builtin.debug:
    msg: "{{ standing.pending | length }} of {{ standing.total }} trials have no valid record."
"""

RETURN = r"""
experiment_id:
  description: Name of the experiment.
  type: str
  returned: success
experiment_dir:
  description: Absolute path of its directory.
  type: str
  returned: success
resumed:
  description: Whether the experiment exists already.
  type: bool
  returned: success
pending:
  description: The trials to run, in order, as P(vcsp.testbed.trials#filter) lists them.
  type: list
  elements: dict
  returned: success
done:
  description: Ids of the trials that have a valid record, and of the RV(lost) ones.
  type: list
  elements: str
  returned: success
lost:
  description:
    - Ids of the trials that did not end inside their observation window. That is an outcome, so they are not run again.
  type: list
  elements: str
  returned: success
total:
  description: Number of trials in the scenario.
  type: int
  returned: success
scenario_hash:
  description: SHA-256 of the normalised scenario.
  type: str
  returned: success
"""
