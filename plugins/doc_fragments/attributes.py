# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is true of every module, and of those that run on the controller."""

from __future__ import annotations


class ModuleDocFragment:
    """What Ansible asks for the fragments of this file: this one, and with ``.controller`` the other."""

    DOCUMENTATION = r"""
attributes:
  action_group:
    description: Use C(group/vcsp.testbed.testbed) in C(module_defaults) to set defaults for this module.
    support: full
    membership: [vcsp.testbed.testbed]
  diff_mode:
    description: There is no difference to show.
    support: none
"""

    CONTROLLER = r"""
attributes:
  action:
    description: Runs on the controller.
    support: full
"""
