# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options that say which experiment is meant."""

from __future__ import annotations


class ModuleDocFragment:
    """What Ansible asks for the fragments of this file: by name, and with ``.directory`` by directory."""

    DOCUMENTATION = r"""
options:
  results_dir:
    description: Directory with one subdirectory per experiment.
    type: path
    required: true
  experiment_id:
    description:
      - Name of the experiment and of its directory. Give the name of an earlier experiment to resume it.
      - If omitted or empty, it is made from the scenario's name and the time, such as V(quick-20260131-235959).
      - At most 100 letters, digits, V(.), V(_) and V(-), starting with a letter or digit.
    type: str
  lock_path:
    description:
      - Path of the machine's lock.
      - Defaults to C(/run/lock/vcsp-testbed.lock), or to that name in the temporary directory if the former is not
        writable.
    type: path
  stacks:
    description:
      - Name of each pair of hosts and of its stack, as P(vcsp.testbed.stacks#filter) returns them. The first stack is
        the reference. Empty if the experiment compares none.
    type: dict
    default: {}
"""

    DIRECTORY = r"""
options:
  experiment_dir:
    description: Directory of the experiment, as returned by M(vcsp.testbed.experiment).
    type: path
    required: true
"""
