# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of vcsp.testbed.record; its documentation is in plugins/modules/record.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.record import build
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.atomic import keep_from_others
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import TRIALS_DIRECTORY, write_record


class ActionModule(ActionBase):
    """Writes the record of one trial into the directory of its experiment."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the record, unless in check mode, and return what the documentation tells."""
        returned: dict[str, Any] = super().run(tmp, task_vars)
        keep_from_others()
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "experiment_dir": {"type": "path", "required": True},
                "experiment_id": {"type": "str", "required": True},
                "trial": {"type": "dict", "required": True},
                "result": {"type": "dict", "default": {}},
                "failure": {"type": "str"},
                "provenance": {"type": "dict", "default": {}},
            }
        )
        # Ansible's own kinds of str and dict become Python's.
        plain = json.loads(json.dumps({key: arguments[key] for key in ("trial", "result", "provenance")}))
        trial = plain["trial"]
        failure = arguments["failure"] or None
        record, files = build(arguments["experiment_id"], trial, plain["result"], failure, plain["provenance"])
        trials_dir = Path(arguments["experiment_dir"]) / TRIALS_DIRECTORY
        returned.update(
            changed=True,
            path=str(trials_dir / str(trial.get("id"))),
            trial=trial,
            status="failed" if failure else "valid" if record["validity"]["valid"] else "invalid",
            valid=record["validity"]["valid"],
            reasons=record["validity"]["reasons"],
            measurements=record["measurements"],
        )
        if self._task.check_mode:
            returned["msg"] = "check mode: no record was written"
            return returned
        try:
            write_record(trials_dir, record, files)
        except (InputError, OSError) as error:
            raise AnsibleActionFail(f"The record of trial {trial.get('id')} was not written: {error}") from None
        return returned
