# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of vcsp.testbed.experiment_info; its documentation is in plugins/modules/experiment_info.py."""

from __future__ import annotations

from typing import Any

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment import controller
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.action import ControllerAction
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.plan import Plan, refusals


class ActionModule(ControllerAction):
    """Looks whether an experiment can be begun or resumed, and how far it is."""

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Look and return what the documentation describes."""
        with refusals():
            plan = Plan.of(arguments)
            return {"changed": False, **plan.describe(plan.check(controller.playbook_pid()))}
