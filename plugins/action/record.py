# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of vcsp.testbed.record; its documentation is in plugins/modules/record.py."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError

from ansible_collections.vcsp.testbed.plugins.module_utils._measure.result import RATE_CAUTION
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.action import ControllerAction
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.record import build
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import TRIALS_DIRECTORY, write_record
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.validity import RATE_BOUND, rate_error


class ActionModule(ControllerAction):
    """Writes the record of one trial into the directory of its experiment."""

    _requires_connection = True

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Do it and return what the documentation describes."""
        # Ansible's own kinds of str and dict become Python's.
        kept = ("trial", "result", "provenance", "calibration", "link", "missed")
        plain = json.loads(json.dumps({key: arguments[key] for key in kept}))
        trial = plain["trial"]
        failure = arguments["failure"] or None
        result = {**plain["result"], "calibration": plain["calibration"], "link": plain["link"]}
        result["cautions"] = [*(result.get("cautions") or []), *(f"run again: {reason}" for reason in plain["missed"])]
        there = arguments["files_dir"]
        with TemporaryDirectory() as here:
            if there is not None:
                self._fetch(there, result.get("stored_files") or [], Path(here))
            files_dir = None if there is None else Path(here)
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
            "missed_rate": (rate_error(record) or 0.0) > RATE_BOUND and len(record["validity"]["reasons"]) == 1,
        }
        if self._task.check_mode:
            return {**returned, "msg": "check mode: no record was written"}
        try:
            write_record(trials_dir, record, files)
        except (InputError, OSError) as error:
            raise AnsibleActionFail(f"The record of trial {trial.get('id')} was not written: {error}") from None
        if there is not None:
            self._low_level_execute_command(self._connection._shell.remove(there, recurse=True))
        return returned

    def _fetch(self, directory: str, paths: list[str], here: Path) -> None:
        """Bring files from the folder on the task's host here; without a module, where the login may read them."""
        for name in (Path(path).name for path in paths):
            file = self._connection._shell.join_path(directory, name)
            try:
                if self._connection.become:
                    answer = self._execute_module("ansible.legacy.slurp", {"src": file})
                    if "content" not in answer:
                        raise AnsibleActionFail(f"{file} cannot be read: {answer.get('msg', 'no reason given')}")
                    (here / name).write_bytes(base64.b64decode(answer["content"]))
                else:
                    self._connection.fetch_file(file, str(here / name))
            except AnsibleError as error:
                # A host out of reach would end the play; the trial's failure is recorded instead.
                raise AnsibleActionFail(f"What the trial recorded over time was not fetched: {error}") from None
