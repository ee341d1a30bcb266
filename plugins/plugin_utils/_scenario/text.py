# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Scenarios as YAML text, read more strictly than YAML is."""

from __future__ import annotations

import math
from typing import Any

import yaml

# The largest scenario of this repository holds 130.
MOST_VALUES = 10_000


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader, which would silently keep the last of two equal keys, made to refuse them.

    It also refuses aliases that stand for very many values: a few lines of them keep a program busy for years.
    """

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _size(node, {}) > MOST_VALUES:
            raise yaml.constructor.ConstructorError(
                None, None, f"with its aliases it holds more than {MOST_VALUES} values", node.start_mark
            )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _value in node.value:
            key = (key_node.tag, key_node.value) if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key_node.value}' stands twice; keep one of them", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _size(node: yaml.Node, known: dict[int, float]) -> float:
    """Count the values under a node, those of an alias each time; without end if it contains itself."""
    if id(node) not in known:
        known[id(node)] = math.inf  # while it is counted
        children = node.value if isinstance(node, yaml.CollectionNode) else ()
        nodes = (part for child in children for part in (child if isinstance(child, tuple) else (child,)))
        known[id(node)] = 1 + sum(_size(part, known) for part in nodes)
    return known[id(node)]


def parse(text: str) -> Any:
    return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - it is a SafeLoader


def yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if not mark:
        return f"text: {error}"
    told = (getattr(error, "context", None), getattr(error, "problem", None))
    return f"line {mark.line + 1}, column {mark.column + 1}: {', '.join(part for part in told if part)}"
