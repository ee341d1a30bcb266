# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter that judges an inventory; its documentation is in the YAML file beside this one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.inventory import inventory_problems


class FilterModule:
    """This file's filter, as Ansible looks it up."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return name -> filter."""
        return {"inventory_problems": inventory_problems}
