#!/usr/bin/python
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: record
short_description: Write the record of a trial
version_added: 0.1.0
description:
  - Makes one record of what a trial was asked to do and what it returned, and writes it whole or not at all, together
    with the files that the trial recorded over time.
  - An earlier record of the same trial is replaced.
  - A trial that failed, or whose return value makes no record, leaves a record, too. It measures nothing and says why.
author:
  - vcsp.testbed contributors (!UNKNOWN)
options:
  experiment_dir:
    description: Directory of the experiment, as M(vcsp.testbed.experiment) returned it.
    type: path
    required: true
  experiment_id:
    description: Name of the experiment.
    type: str
    required: true
  trial:
    description: The trial, an element of what P(vcsp.testbed.trials#filter) returns.
    type: dict
    required: true
  result:
    description:
      - What M(vcsp.testbed.postcopy_migration) returned. Its keys C(events), C(clock_offset), C(measurements),
        C(instruments), C(memory_verified), C(validity), C(started_at), C(ended_at) and C(files) are used.
      - C(files) maps names to content, compressed by zlib and encoded in base64.
      - Of a trial that failed, as much of it as there is.
    type: dict
    default: {}
  failure:
    description: Why the trial failed. Left out or empty if it did not.
    type: str
  provenance:
    description: Facts of the C(source), the C(destination) and the C(controller).
    type: dict
    default: {}
attributes:
  check_mode:
    description: In check mode nothing is written, and the message says so.
    support: full
  diff_mode:
    description: Has no difference to show.
    support: none
  action:
    description: Runs on the controller.
    support: full
seealso:
  - module: vcsp.testbed.experiment
  - module: vcsp.testbed.postcopy_migration
"""

EXAMPLES = r"""
- name: Keep what the trial measured
  vcsp.testbed.record:
    experiment_dir: "{{ experiment.experiment_dir }}"
    experiment_id: "{{ experiment.experiment_id }}"
    trial: "{{ trial }}"
    result: "{{ migration }}"
    provenance: "{{ experiment.provenance }}"

- name: Keep why the trial failed
  vcsp.testbed.record:
    experiment_dir: "{{ experiment.experiment_dir }}"
    experiment_id: "{{ experiment.experiment_id }}"
    trial: "{{ trial }}"
    failure: "{{ ansible_failed_result.msg }}"
"""

RETURN = r"""
path:
  description: Directory of the trial.
  type: str
  returned: success
trial:
  description: The trial.
  type: dict
  returned: success
status:
  description: V(valid), V(invalid), or V(failed).
  type: str
  returned: success
valid:
  description: Whether the trial counts.
  type: bool
  returned: success
reasons:
  description: Why it does not count.
  type: list
  elements: str
  returned: success
measurements:
  description: What was measured; null is missing.
  type: dict
  returned: success
"""
