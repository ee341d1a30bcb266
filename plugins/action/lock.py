# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of vcsp.testbed.lock; its documentation is in plugins/modules/lock.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment import controller, lock
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.action import ControllerAction


class ActionModule(ControllerAction):
    """Takes or gives back the machine's lock in the name of the running ansible-playbook."""

    REQUIRED_IF: ClassVar = [("state", "present", ["purpose"])]

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Do it and return what the documentation describes."""
        path, pid = Path(arguments["path"] or lock.default_path()), controller.playbook_pid()
        try:
            if arguments["state"] == "absent":
                if not self._task.check_mode:
                    lock.release(path, pid)
            elif self._task.check_mode:
                lock.check(path, pid)
            else:
                lock.acquire(path, arguments["purpose"], str(controller.COLLECTION_ROOT), pid)
        except lock.LockedError as error:
            raise AnsibleActionFail(str(error)) from None
        except OSError as error:
            raise AnsibleActionFail(f"{path}: {error.strerror}; remove that file, or give another path") from None
        # A lock is a promise among processes and no state of the machine: it never counts as a change.
        return {"changed": False, "path": str(path)}
