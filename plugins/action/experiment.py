# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of vcsp.testbed.experiment; its documentation is in plugins/modules/experiment.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment import controller, experiment, lock
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.action import ControllerAction
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import scenario_hash
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.gate import ScenarioError, load


class ActionModule(ControllerAction):
    """Begins or resumes an experiment and holds its locks, or gives them back."""

    REQUIRED_IF: ClassVar = [("state", "present", ["scenario"]), ("state", "absent", ["experiment_id"])]

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Do it and return what the documentation describes."""
        # A null or empty id is what a playbook has whose user gave none.
        experiment_id = arguments["experiment_id"] or None
        try:
            if arguments["state"] == "absent":
                return self._release(arguments, experiment_id)
            return self._present(arguments, experiment_id)
        except (experiment.ExperimentError, ScenarioError, lock.LockedError) as error:
            raise AnsibleActionFail(str(error)) from None
        except OSError as error:
            raise AnsibleActionFail(f"{error}; give another results_dir or lock_path") from None

    def _release(self, arguments: dict[str, Any], experiment_id: str | None) -> dict[str, Any]:
        if experiment_id is None:
            raise experiment.ExperimentError("experiment_id: say which experiment to release")
        experiment.check_id(experiment_id)
        directory = Path(arguments["results_dir"]).absolute() / experiment_id
        paths = [directory / experiment.LOCK_FILE, Path(arguments["lock_path"] or lock.default_path())]
        if self._task.check_mode:
            return {"changed": any(path.exists() for path in paths), "experiment_id": experiment_id}
        released = [lock.release(path, controller.playbook_pid()) for path in paths]
        return {"changed": any(released), "experiment_id": experiment_id}

    def _present(self, arguments: dict[str, Any], experiment_id: str | None) -> dict[str, Any]:
        scenario = load(arguments["scenario"])
        # Ansible's own kinds of str and dict become Python's.
        given = json.loads(json.dumps(arguments["provenance"]))
        experiment_id = str(experiment_id or experiment.default_id(scenario))
        experiment.check_id(experiment_id)
        directory = Path(arguments["results_dir"]).absolute() / experiment_id
        locks = [Path(arguments["lock_path"] or lock.default_path()), directory / experiment.LOCK_FILE]
        provenance = {**given, "controller": {**controller.provenance(), **given.get("controller", {})}}
        pid = controller.playbook_pid()
        if self._task.check_mode:
            for path in locks:
                lock.check(path, pid)
            found = experiment.find(directory, experiment_id, scenario)
            experiment.check_writable(directory)
        else:
            purpose, checkout = f"experiment {experiment_id}", str(controller.COLLECTION_ROOT)
            lock.acquire(locks[0], purpose, checkout, pid)
            found = experiment.find(directory, experiment_id, scenario)
            experiment.prepare(directory)
            lock.acquire(locks[1], purpose, checkout, pid)
            if not found.resumed:
                experiment.begin(directory, experiment_id, scenario, provenance)
            experiment.link_latest(directory)
        return {
            "changed": not found.resumed,
            "experiment_id": experiment_id,
            "experiment_dir": str(directory),
            "resumed": found.resumed,
            "pending": found.pending,
            "done": found.done,
            "total": len(found.pending) + len(found.done),
            "scenario_hash": scenario_hash(scenario),
            "provenance": provenance,
            "warnings": found.notes,
        }
