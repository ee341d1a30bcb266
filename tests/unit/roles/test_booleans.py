# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Booleans as strings, as ``-e x=false`` and INI inventories give them: "false" is not true."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from jinja2 import nodes

ROOT = Path(__file__).resolve().parents[3]
ROLES = ROOT / "roles"
FILES = sorted(path for folder in ("roles", "playbooks", "inventory") for path in (ROOT / folder).rglob("*.yml"))
# Ansible's keywords whose strings are expressions without braces.
EXPRESSIONS = {"when", "that", "changed_when", "failed_when", "until"}


def options(kind: str) -> dict[str, set[str]]:
    """The roles' documented options of a type, by role."""
    specs = {path.parts[-3]: yaml.safe_load(path.read_text()) for path in ROLES.glob("*/meta/argument_specs.yml")}
    return {
        role: {
            name
            for entry in spec["argument_specs"].values()
            for name, option in (entry.get("options") or {}).items()
            if option.get("type") == kind
        }
        for role, spec in specs.items()
    }


def pairs(node: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a YAML document, with each of its values."""
    for item in node if isinstance(node, list) else []:
        yield from pairs(item)
    for key, value in node.items() if isinstance(node, dict) else []:
        yield from ((key, item) for item in (value if isinstance(value, list) else [value]))
        yield from pairs(value)


def templates(path: Path) -> Iterator[nodes.Template]:
    """Everything in a file that Jinja evaluates."""
    environment = jinja2.Environment()
    if path.suffix == ".j2":
        yield environment.parse(path.read_text())
        return
    for key, value in pairs(yaml.safe_load(path.read_text())):
        if isinstance(value, str) and "{" in value:
            yield environment.parse(value)
        elif isinstance(value, str) and key in EXPRESSIONS:
            yield environment.parse("{{ " + value + " }}")


@cache
def booleans() -> set[str]:
    """Variables that are documented as booleans, set to one, or have one as their default."""
    documented = set().union(*options("bool").values())
    values = {
        key
        for path in FILES
        for key, value in pairs(yaml.safe_load(path.read_text()))
        if value is True or value is False
    }
    defaulted = {
        found.node.name
        for path in FILES
        for template in templates(path)
        for found in template.find_all(nodes.Filter)
        if found.name == "default" and isinstance(found.node, nodes.Name)
        if isinstance(found.args[0], nodes.Const) and isinstance(found.args[0].value, bool)
    }
    prefixes = tuple(f"{name}_" for name in ("testbed", *(path.name for path in ROLES.iterdir())))
    return {name for name in documented | values | defaulted if name.startswith(prefixes)}


def as_they_come(node: nodes.Node, names: set[str], converted: bool = False) -> Iterator[str]:
    """Booleans that an expression uses without the filter ``bool``."""
    if isinstance(node, nodes.Name) and node.name in names and not converted:
        yield node.name
    for child in node.iter_child_nodes():
        kind = node.name if isinstance(node, nodes.Filter | nodes.Test) and child is node.node else None
        yield from as_they_come(child, names, kind in ("bool", "defined") or (kind == "default" and converted))


def test_the_booleans_are_found() -> None:
    assert {"hypervisor_packages_managed", "hypervisor_service_managed", "testbed_embedded_lab"} <= booleans()


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("x", ["x"]),
        ("not x | bool", []),
        ("x | default(false) | bool", []),
        ("x | bool | default(x)", ["x"]),
        ("x is defined and x", ["x"]),
        ("y | bool", []),
    ],
)
def test_a_boolean_without_the_filter_is_seen(expression: str, found: list[str]) -> None:
    assert list(as_they_come(jinja2.Environment().parse("{{ " + expression + " }}"), {"x"})) == found


@pytest.mark.parametrize("path", [*FILES, *ROLES.rglob("*.j2")], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_boolean_is_converted_where_it_is_read(path: Path) -> None:
    names = booleans()
    assert [name for template in templates(path) for name in as_they_come(template, names)] == []


@pytest.mark.parametrize("value", ["true", "false"])
def test_a_host_is_provisioned_with_strings_as_with_booleans(playbooks: Any, tmp_path: Path, value: str) -> None:
    """In check mode, on a machine where nothing is installed."""
    machine = {"_hypervisor_requirements": [], "packages_installed": {}, "hypervisor_dir": str(tmp_path / "none")}
    strings = [word for name in sorted(options("bool")["hypervisor"]) for word in ("-e", f"{name}={value}")]
    provision = {"name": "Provision", "ansible.builtin.include_role": {"name": "vcsp.testbed.hypervisor"}}
    done = playbooks.run([provision], "--check", "-e", json.dumps(machine), *strings)
    assert done.returncode == 0, done.stdout
    assert ("Would install" in done.stdout) == (value == "true"), done.stdout
    assert ("Would start libvirtd" in done.stdout) == (value == "true"), done.stdout
    assert ("libvirt-daemon-system" in done.stdout) == (value == "true"), done.stdout
