# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the collection's actions share."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar

import yaml
from ansible.plugins.action import ActionBase

from .._records.atomic import keep_from_others

_FRAGMENTS = "ansible_collections.vcsp.testbed.plugins.doc_fragments"


class ControllerAction(ActionBase):
    """An action that runs on the controller alone; its options are those that its module documents.

    :cvar REQUIRED_IF: options that others require, as ``validate_argument_spec`` takes them.
    """

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    REQUIRED_IF: ClassVar[Sequence[tuple[str, str, list[str]]]] = ()

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check the arguments, act, and return what the documentation describes."""
        returned: dict[str, Any] = super().run(tmp, task_vars)
        keep_from_others()
        module = import_module(type(self).__module__.replace(".plugins.action.", ".plugins.modules."))
        _validation, arguments = self.validate_argument_spec(_options(module), required_if=self.REQUIRED_IF)
        return {**returned, **self.act(arguments)}

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Act, or in check mode only look; return what to add to Ansible's own values."""
        raise NotImplementedError


def _options(module: ModuleType) -> dict[str, Any]:
    """Return the options that a module documents, those of its fragments included."""
    documentation = yaml.safe_load(module.DOCUMENTATION)
    options: dict[str, Any] = documentation.get("options", {})
    for name in documentation.get("extends_documentation_fragment", ()):
        file, _dot, part = name.removeprefix("vcsp.testbed.").partition(".")
        fragments = import_module(f"{_FRAGMENTS}.{file}").ModuleDocFragment
        fragment = yaml.safe_load(getattr(fragments, part.upper() or "DOCUMENTATION"))
        options = {**fragment.get("options", {}), **options}
    return options
