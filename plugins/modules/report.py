#!/usr/bin/python
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Make the report of an experiment
version_added: 0.1.0
description:
  - Makes Table 3, the figures and the web page from the records of an experiment, finished or not, in its directory
    C(report).
  - Fails if the records do not yield a Table 3. The web page is written even then, and says why.
author:
  - vcsp.testbed contributors (!UNKNOWN)
extends_documentation_fragment:
  - vcsp.testbed.experiment.directory
  - vcsp.testbed.attributes
  - vcsp.testbed.attributes.controller
attributes:
  check_mode:
    description: In check mode nothing is read or written, and the message says so.
    support: full
seealso:
  - module: vcsp.testbed.experiment
  - module: vcsp.testbed.record
"""

EXAMPLES = r"""
- name: Make the report
  vcsp.testbed.report:
    experiment_dir: "{{ experiment.experiment_dir }}"
"""

RETURN = r"""
path:
  description: Path of the web page.
  type: str
  returned: except in check mode
table:
  description: Table 3 as text.
  type: str
  returned: success, except in check mode
"""
