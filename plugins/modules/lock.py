#!/usr/bin/python
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: lock
short_description: Keep other runs of the testbed away from this machine
version_added: 0.1.0
description:
  - Takes or releases a lock on the controller on behalf of the running C(ansible-playbook).
  - Fails if another live process holds it, and names that process, its purpose and its checkout.
  - A lock whose process is gone is taken over, so a crash leaves nothing to clean up.
  - Taking a lock that the same C(ansible-playbook) already holds is not an error.
author:
  - vcsp.testbed contributors (!UNKNOWN)
options:
  state:
    description: V(present) takes the lock, V(absent) releases it.
    type: str
    choices: [present, absent]
    default: present
  path:
    description:
      - Path of the lock file.
      - Defaults to the machine's lock, C(/run/lock/vcsp-testbed.lock), or to that name in the temporary directory if
        the former is not writable.
    type: path
  purpose:
    description: What the lock is held for, shown to whoever else wants it. Required if O(state=present).
    type: str
extends_documentation_fragment: [vcsp.testbed.attributes, vcsp.testbed.attributes.controller]
attributes:
  check_mode:
    description: In check mode the lock is not taken, but a lock that another process holds is still an error.
    support: full
seealso:
  - module: vcsp.testbed.experiment
"""

EXAMPLES = r"""
- name: Keep out while an experiment runs
  vcsp.testbed.lock:
    purpose: teardown of the lab
"""

RETURN = r"""
path:
  description: Path of the lock file.
  type: str
  returned: success
"""
