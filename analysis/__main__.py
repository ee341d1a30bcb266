# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""``python -m analysis``: run the command line under the collection's full name, from any directory."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

TESTBED = "ansible_collections.vcsp.testbed"


def name_collection() -> None:
    """Make the directory above this one importable as `TESTBED`.

    sys.path cannot do that: the ``ansible_collections`` that PyPI's ansible installs would hide ours.
    """
    root = str(Path(__file__).resolve().parents[1])
    for name, path in (("ansible_collections", []), ("ansible_collections.vcsp", []), (TESTBED, [root])):
        package = ModuleType(name)
        package.__path__ = path
        sys.modules.setdefault(name, package)


if __name__ == "__main__":
    name_collection()
    sys.exit(import_module(f"{TESTBED}.analysis.command_line").main())
