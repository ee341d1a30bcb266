# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes the parts of the documentation that follow from the code: ``make docs``.

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``. A test holds every part equal to the code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

DOCS = Path(__file__).parent

if __name__ == "__main__":
    sys.path.insert(0, str(DOCS.parent / "collections"))

from ansible_collections.vcsp.testbed.plugins.module_utils._method import Method, kind  # noqa: E402
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.schema import known_methods  # noqa: E402

PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def methods() -> str:
    """Return the known methods as a table of the settings in which they differ."""
    known = {name: Method.of(given) for name, given in known_methods().items()}
    columns = list(dict.fromkeys(key for given in known_methods().values() for key in given))
    columns.append("transfer")
    rows = [f"| method | {' | '.join(f'`{column}`' for column in columns)} |", "| --- " * (len(columns) + 1) + "|"]
    for name, method in known.items():
        rows.append(f"| `{name}` | {' | '.join(str(getattr(method, column)) for column in columns)} |")
    return "\n".join(rows)


def settings() -> str:
    """Return the settings of a method as a table."""
    rows = ["| setting | default | allowed | what it is |", "| --- | --- | --- | --- |"]
    for entry in fields(Method):
        default = "not set" if entry.default is None else f"`{entry.default}`"
        allowed = ", ".join(f"`{value}`" for value in entry.metadata["allowed"] or ("true", "false"))
        if kind(entry) in ("int", "float"):
            allowed = "{:,} to {:,} ".format(*entry.metadata["allowed"]) + entry.metadata["unit"]
        rows.append(f"| `{entry.name}` | {default} | {allowed} | {' '.join(entry.metadata['text'])} |")
    return "\n".join(rows)


PARTS: Mapping[str, Callable[[], str]] = {"methods": methods, "settings": settings}


def generated(text: str) -> str:
    """Return a document with its generated parts as the code has them now.

    :raises KeyError: it has a part of an unknown name.
    """
    return PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]()}\n\n{part[3]}", text)


if __name__ == "__main__":
    for document in sorted(DOCS.glob("*.md")):
        document.write_text(generated(document.read_text(encoding="utf-8")), encoding="utf-8")
