# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of vcsp.testbed.experiment; its documentation is in plugins/modules/experiment.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment import controller, experiment, lock
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.action import ControllerAction
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.plan import Plan, refusals


class ActionModule(ControllerAction):
    """Begins or resumes an experiment and holds its locks, or gives them back."""

    REQUIRED_IF: ClassVar = [("state", "present", ["scenario"]), ("state", "absent", ["experiment_id"])]

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Do it and return what the documentation describes."""
        with refusals():
            return self._release(arguments) if arguments["state"] == "absent" else self._present(arguments)

    def _release(self, arguments: dict[str, Any]) -> dict[str, Any]:
        experiment_id = arguments["experiment_id"]
        if not experiment_id:
            raise experiment.ExperimentError("experiment_id: say which experiment to release")
        experiment.check_id(experiment_id)
        directory, pid = Path(arguments["results_dir"]).absolute() / experiment_id, controller.playbook_pid()
        paths = [directory / experiment.LOCK_FILE, Path(arguments["lock_path"] or lock.default_path())]
        release = lock.held if self._task.check_mode else lock.release
        released = [release(path, pid) for path in paths]
        return {"changed": any(released), "experiment_id": experiment_id}

    def _present(self, arguments: dict[str, Any]) -> dict[str, Any]:
        # Ansible's own kinds of str and dict become Python's.
        given = json.loads(json.dumps({key: arguments[key] for key in ("provenance", "pairs", "stacks")}))
        plan, pid = Plan.of({**arguments, **given}), controller.playbook_pid()
        known = given["provenance"]
        provenance = {**known, "controller": {**controller.provenance(), **known.get("controller", {})}}
        if plan.pairs:
            provenance["pairs"] = plan.pairs
        found = plan.check(pid)
        if not self._task.check_mode:
            purpose, checkout = f"experiment {plan.experiment_id}", str(controller.COLLECTION_ROOT)
            machine, own = plan.locks
            lock.acquire(machine, purpose, checkout, pid)
            experiment.prepare(plan.directory)
            lock.acquire(own, purpose, checkout, pid)
            found = plan.check(pid)  # nobody else has changed it since
            if not found.resumed:
                experiment.begin(plan.directory, plan.experiment_id, plan.scenario, provenance, plan.compared)
            experiment.link_latest(plan.directory)
        return {"changed": not found.resumed, **plan.describe(found), "provenance": provenance}
