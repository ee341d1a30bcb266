# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the collection's actions share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible.plugins.action import ActionBase

from .._records.atomic import keep_from_others


class ControllerAction(ActionBase):
    """An action that runs on the controller alone.

    :cvar ARGUMENTS: what ``validate_argument_spec`` is given.
    """

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    ARGUMENTS: ClassVar[Mapping[str, Any]]

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check the arguments, act, and return what the documentation describes."""
        returned: dict[str, Any] = super().run(tmp, task_vars)
        keep_from_others()
        _validation, arguments = self.validate_argument_spec(**self.ARGUMENTS)
        return {**returned, **self.act(arguments)}

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Act, or in check mode only look; return what to add to Ansible's own values."""
        raise NotImplementedError
