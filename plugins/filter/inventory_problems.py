# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filters of inventories; their documentation is in the YAML files beside this one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from typing import Any

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.inventory import inventory_problems
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.pairs import pair_of, stacks


def pair(
    groups: Mapping[str, Collection[str]], variables: Mapping[str, Mapping[str, Any]], host: str
) -> dict[str, str | None]:
    """Return the pair that a host runs or belongs to; for a host that is of none, the first."""
    return asdict(pair_of(groups, variables, host))


class FilterModule:
    """This file's filters, as Ansible looks them up."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return name -> filter."""
        return {"inventory_problems": inventory_problems, "pair": pair, "stacks": stacks}
