# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The option ``method`` of modules that migrate, derived from the table of settings."""

from __future__ import annotations

import json

from ansible_collections.vcsp.testbed.plugins.module_utils._method import documentation

_METHOD = {
    "description": [
        "The method, as a scenario describes it. Settings that are not given are those of plain post-copy.",
    ],
    "type": "dict",
    "default": {},
    "suboptions": {
        "name": {"description": "What the method is called; it changes nothing.", "type": "str"},
        **documentation(),
    },
}


class ModuleDocFragment:
    """What Ansible asks for the fragment of this file; JSON is YAML."""

    DOCUMENTATION = json.dumps({"options": {"method": _METHOD}})
