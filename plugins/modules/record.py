#!/usr/bin/python
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: record
short_description: Write the record of a trial
version_added: 0.1.0
description:
  - Makes one record of a trial's settings and results and writes it atomically, along with the time series that the
    trial recorded.
  - An earlier record of the same trial is replaced.
  - A trial that failed, or whose result makes no valid record, is recorded as well, with the reason instead of
    measurements.
author:
  - vcsp.testbed contributors (!UNKNOWN)
options:
  experiment_id:
    description: Name of the experiment.
    type: str
    required: true
  trial:
    description: The trial, an element of the list that P(vcsp.testbed.trials#filter) returns.
    type: dict
    required: true
  result:
    description:
      - What M(vcsp.testbed.postcopy_migration) returned. Its keys C(events), C(clock_offset), C(measurements),
        C(instruments), C(memory_verified), C(cautions), C(validity), C(started_at), C(ended_at), C(files) and
        C(stored_files) are used.
      - C(files) maps names to contents, compressed with zlib and encoded in base64.
      - For a trial that failed, whatever is available.
    type: dict
    default: {}
  calibration:
    description:
      - How the workload was brought to its rate, as M(vcsp.testbed.saved_guest) returned it. Omitted if it was not.
    type: dict
  link:
    description: The migration link as it was proved before the trials. Omitted if it was not.
    type: dict
  files_dir:
    description:
      - Folder with the files that C(stored_files) of O(result) names, compressed with gzip, on the host that the task
        runs for or is delegated to. They are kept beside the record, uncompressed and without C(.gz) in their names.
      - The folder is removed once the record is written. It need not exist.
    type: path
  failure:
    description: Why the trial failed. Omitted or empty if it did not.
    type: str
  missed:
    description: By what earlier attempts at the trial missed the guest's rate, a sentence each; become cautions.
    type: list
    elements: str
    default: []
  provenance:
    description: Facts about the C(source), the C(destination) and the C(controller).
    type: dict
    default: {}
extends_documentation_fragment:
  - vcsp.testbed.experiment.directory
  - vcsp.testbed.attributes
  - vcsp.testbed.attributes.controller
attributes:
  check_mode:
    description: In check mode nothing is written, and the message says so.
    support: full
seealso:
  - module: vcsp.testbed.experiment
  - module: vcsp.testbed.postcopy_migration
"""

EXAMPLES = r"""
- name: Record what the trial measured
  vcsp.testbed.record:
    experiment_dir: "{{ experiment.experiment_dir }}"
    experiment_id: "{{ experiment.experiment_id }}"
    trial: "{{ trial }}"
    result: "{{ migration }}"
    provenance: "{{ experiment.provenance }}"
    files_dir: /var/lib/libvirt/vcsp/trial
  delegate_to: destination

- name: Record why the trial failed
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
  description: Why the trial does not count.
  type: list
  elements: str
  returned: success
measurements:
  description: The measurements; null where one is missing.
  type: dict
  returned: success
off_rate:
  description:
    - Whether the guest began more than 10 % off the rate that it was calibrated to, because the machine became faster
      or slower since. To calibrate it again helps the trials that follow.
  type: bool
  returned: success
missed_rate:
  description: Whether the trial does not count because the guest missed its rate, and for no other reason.
  type: bool
  returned: success
"""
