#!/usr/bin/python
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: lock
short_description: Keep other runs of the testbed away from this machine
version_added: 0.1.0
description:
  - Takes or gives back a lock on the controller, in the name of the running C(ansible-playbook).
  - Fails if another process that is still alive holds it, and names its process, what it does and its checkout.
  - A lock whose process is gone is taken over, so nobody has to remove one after a crash.
  - Taking a lock that the same C(ansible-playbook) holds already is no error.
author:
  - vcsp.testbed contributors (!UNKNOWN)
options:
  state:
    description: V(present) takes the lock, V(absent) gives it back.
    type: str
    choices: [present, absent]
    default: present
  path:
    description:
      - Path of the lock file.
      - Without it the lock is that of the machine, C(/run/lock/vcsp-testbed.lock), or in the directory for temporary
        files where that is not writable.
    type: path
  purpose:
    description: What the lock is held for, for the message to others. Required if O(state=present).
    type: str
attributes:
  check_mode:
    description: In check mode the lock is not taken, but a lock that another process holds is still an error.
    support: full
  diff_mode:
    description: A lock has no difference to show.
    support: none
  action:
    description: Runs on the controller.
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
