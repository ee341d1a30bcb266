# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of vcsp.testbed.record; its documentation is in plugins/modules/record.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.vcsp.testbed.plugins.module_utils._measure.result import RATE_CAUTION
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.action import ControllerAction
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.record import build
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import TRIALS_DIRECTORY, write_record
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.validity import rate_error


class ActionModule(ControllerAction):
    """Writes the record of one trial into the directory of its experiment."""

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Do it and return what the documentation describes."""
        # Ansible's own kinds of str and dict become Python's.
        kept = ("trial", "result", "provenance", "calibration", "link")
        plain = json.loads(json.dumps({key: arguments[key] for key in kept}))
        trial = plain["trial"]
        failure = arguments["failure"] or None
        files_dir = None if arguments["files_dir"] is None else Path(arguments["files_dir"])
        result = {**plain["result"], "calibration": plain["calibration"], "link": plain["link"]}
        record, files = build(arguments["experiment_id"], trial, result, failure, plain["provenance"], files_dir)
        trials_dir = Path(arguments["experiment_dir"]) / TRIALS_DIRECTORY
        returned = {
            "changed": True,
            "path": str(trials_dir / str(trial.get("id"))),
            "trial": trial,
            "status": "failed" if failure else "valid" if record["validity"]["valid"] else "invalid",
            **record["validity"],
            "measurements": record["measurements"],
            "off_rate": (rate_error(record) or 0.0) > RATE_CAUTION,
        }
        if self._task.check_mode:
            return {**returned, "msg": "check mode: no record was written"}
        try:
            write_record(trials_dir, record, files)
        except (InputError, OSError) as error:
            raise AnsibleActionFail(f"The record of trial {trial.get('id')} was not written: {error}") from None
        if files_dir is not None:
            shutil.rmtree(files_dir, ignore_errors=True)
        return returned
