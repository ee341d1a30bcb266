# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes the documentation that follows from the code: ``make docs``.

A part of a document stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``. The README of a role is written
as a whole. A test holds all of them equal to the code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).parent
ROLES = sorted(path.parent for path in (DOCS.parent / "roles").glob("*/meta"))

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
        shown = str(entry.default).lower() if kind(entry) == "bool" else entry.default
        default = "not set" if entry.default is None else f"`{shown}`"
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


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _prose(text: str | list[str]) -> str:
    """Return a description as Markdown; C() and V() are how Ansible marks code and values."""
    return re.sub(r"\b[CV]\(([^)]*)\)", r"`\1`", " ".join([text] if isinstance(text, str) else text))


def _variables(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, option in options.items():
        default = "required" if option.get("required") else "not set"
        if "default" in option:
            shown = yaml.safe_dump(option["default"], default_flow_style=True, width=1000, sort_keys=False)
            default = f"`{shown.strip().removesuffix('...').strip()}`"
        kind = f"list of {option['elements']}" if "elements" in option else option["type"]
        kind = ", ".join(f"`{value}`" for value in option.get("choices", ())) or kind
        cells = (f"`{prefix}{name}`", default, kind, _prose(option["description"]))
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
        yield from _variables(option.get("options", {}), f"{prefix}{name}[].")


def readme(role: Path) -> str:
    """Return the README of a role: its entry points and their variables, its tags, and its example."""
    galaxy, specs = _yaml(role / "meta" / "main.yml")["galaxy_info"], _yaml(role / "meta" / "argument_specs.yml")
    platforms = " and ".join(f"{each['name']} ({', '.join(each['versions'])})" for each in galaxy["platforms"])
    lines = [
        "<!-- Made by `make docs` from meta/, tasks/main.yml and example.yml of this role. -->",
        f"# vcsp.testbed.{role.name}",
        f"{galaxy['description']}. For {platforms}, with ansible-core {galaxy['min_ansible_version']} or later.",
    ]
    main = specs["argument_specs"]["main"]
    for name, entry in specs["argument_specs"].items():
        lines.append(f"## {entry['short_description']}" + (f" (`tasks_from: {name}.yml`)" if entry != main else ""))
        lines.append(_prose(entry["description"]))
        if entry != main and entry["options"] == main["options"]:
            lines.append("The variables are the same.")
        elif entry["options"]:
            head = ["| variable | default | type | what it is |", "| --- | --- | --- | --- |"]
            lines.append("\n".join([*head, *_variables(entry["options"])]))
    tags = [tag for task in _yaml(role / "tasks" / "main.yml") for tag in task.get("tags", []) if tag != "always"]
    if tags:
        chosen = ", ".join(f"`{tag}`" for tag in tags)
        lines += ["## Tags", f"Where a play imports the role, `--tags` and `--skip-tags` choose its parts: {chosen}."]
    example = (role / "example.yml").read_text(encoding="utf-8").removeprefix("---\n")
    return "\n\n".join([*lines, "## Example", f"```yaml\n{example}```"]) + "\n"


if __name__ == "__main__":
    for role in ROLES:
        (role / "README.md").write_text(readme(role), encoding="utf-8")
    for document in sorted(DOCS.glob("*.md")):
        document.write_text(generated(document.read_text(encoding="utf-8")), encoding="utf-8")
