# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of vcsp.testbed.report; its documentation is in plugins/modules/report.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.atomic import keep_from_others
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError


class ActionModule(ActionBase):
    """Hands the records of an experiment to the analysis."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the report, unless in check mode, and return what the documentation tells."""
        returned: dict[str, Any] = super().run(tmp, task_vars)
        keep_from_others()
        _validation, arguments = self.validate_argument_spec(
            argument_spec={"experiment_dir": {"type": "path", "required": True}}
        )
        directory = Path(arguments["experiment_dir"]).absolute()
        if self._task.check_mode:
            returned.update(changed=True, msg="check mode: no report was written")
            return returned
        # Imported here: pandas and Altair take a second, which check mode need not.
        from ansible_collections.vcsp.testbed.analysis.report import report, text_table

        try:
            paths = report(directory)
        except (InputError, OSError) as error:
            raise AnsibleActionFail(f"No report could be made: {error}") from None
        table = text_table(paths.summary)
        skipped = (*paths.summary.experiment.skipped, *paths.summary.curves.skipped)
        warnings = [f"{entry.name}: not used: {entry.reason}" for entry in skipped]
        returned.update(changed=True, path=str(paths.html), warnings=warnings)
        if paths.summary.failed:
            returned.update(failed=True, msg=table)
        else:
            returned["table"] = table
        return returned
