# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of vcsp.testbed.report; its documentation is in plugins/modules/report.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.action import ControllerAction
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError


class ActionModule(ControllerAction):
    """Hands the records of an experiment to the analysis."""

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Do it and return what the documentation describes."""
        directory = Path(arguments["experiment_dir"]).absolute()
        if self._task.check_mode:
            return {"changed": True, "msg": "check mode: no report was written"}
        # Imported here: pandas and Altair take a second, which check mode need not.
        from ansible_collections.vcsp.testbed.analysis.report import report

        try:
            found = report(directory)
        except (InputError, OSError) as error:
            raise AnsibleActionFail(f"No report could be made: {error}") from None
        warnings = [f"{entry.name}: not used: {entry.reason}" for entry in found.skipped]
        outcome = {"failed": True, "msg": found.text} if found.failed else {"table": found.text}
        return {"changed": True, "path": str(found.html), "warnings": warnings, **outcome}
