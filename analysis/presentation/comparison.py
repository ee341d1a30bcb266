# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A comparison of two experiments as text, JSON and JUnit XML."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ...plugins.plugin_utils._records.printable import printable
from ...plugins.plugin_utils._records.records import Experiment
from ..comparison import ALPHA, Change, Comparison
from ..statistics.metrics import TITLES
from .wording import aligned

_OVERALL = "all workloads"
HEAD = ("method", "metric", "change", "95 % interval", "n", "verdict")


def comparison_text(comparison: Comparison) -> str:
    """Return the comparison for a terminal."""
    lines = [
        f"baseline: {label(comparison.baseline)}",
        f"new:      {label(comparison.new)}",
        *(f"differs, as allowed: {text}" for text in comparison.allowed),
        *(f"note: {text}" for text in comparison.notes),
    ]
    for title, table in change_tables(comparison.changes):
        lines += ["", title, "", *aligned([HEAD, *table], texts={0, 1, len(HEAD) - 1})]
    lines += ["", verdict(comparison)]
    lines += [f"  {obstacle}" for obstacle in comparison.obstacles]
    return "\n".join(lines)


def change_tables(changes: Sequence[Change]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Yield the heading and the lines below `HEAD` of each workload's table, that of all workloads first."""
    for workload in dict.fromkeys(change.workload for change in changes):
        own = [change for change in changes if change.workload == workload]
        decides = "" if own[0].decides else " (for information; these do not decide)"
        title = f"{workload or _OVERALL}: change in %, positive is better{decides}"
        yield title, [_fields(change) for change in own]


def verdict(comparison: Comparison) -> str:
    """Return what a comparison comes to, as a line."""
    return f"{comparison.outcome.name}{_explanation(comparison)}"


def comparison_json(comparison: Comparison) -> str:
    """Return `comparison_data` as JSON."""
    return json.dumps(comparison_data(comparison), indent=2, allow_nan=False)


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison in plain types; ``schema_version`` is that of this format, null is missing."""
    return {
        "schema_version": 1,
        "baseline": identity(comparison.baseline),
        "new": identity(comparison.new),
        "threshold_percent": comparison.threshold_percent,
        "alpha": ALPHA,
        "correction": "holm",
        "outcome": comparison.outcome.name,
        "exit_status": comparison.outcome.exit_status,
        "least_threshold_percent": comparison.least_threshold_percent,
        "obstacles": comparison.obstacles,
        "allowed": comparison.allowed,
        "notes": comparison.notes,
        "changes": [asdict(change) for change in comparison.changes],
    }


def comparison_junit(comparison: Comparison) -> str:
    """Return the comparison as JUnit XML, one case per change.

    A case that decides is a failure if it is a regression, and an error if there is no answer.
    """
    suite = ElementTree.Element("testsuite", name="vcsp.testbed compare")
    for obstacle in comparison.obstacles:
        case = ElementTree.SubElement(suite, "testcase", classname="compare", name="samples are alike")
        ElementTree.SubElement(case, "error", type="not comparable", message=obstacle)
    for change in comparison.changes:
        name = f"{TITLES[change.metric]}, {change.workload or _OVERALL}"
        case = ElementTree.SubElement(suite, "testcase", classname=change.method, name=name)
        text = ", ".join(f"{key} {value}" for key, value in zip(HEAD[2:], _fields(change)[2:], strict=True))
        if change.decides and change.verdict == "regression":
            ElementTree.SubElement(case, "failure", type=change.verdict, message=text)
        elif change.decides and change.verdict in {"too noisy", "too few trials"}:
            ElementTree.SubElement(case, "error", type=change.verdict, message=text)
        else:
            ElementTree.SubElement(case, "system-out").text = text
    suite.set("tests", str(len(suite)))
    for kind in ("failure", "error"):
        suite.set(f"{kind}s", str(len(suite.findall(f"testcase/{kind}"))))
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode")


FORMATS: Mapping[str, Callable[[Comparison], str]] = {
    "text": comparison_text,
    "json": comparison_json,
    "junit": comparison_junit,
}


def label(experiment: Experiment) -> str:
    """Name an experiment, and say how much of it counts."""
    valid = sum(record.valid for record in experiment.records)
    on = f" on {experiment.stacks[0]}" if experiment.stacks else ""
    return f"{experiment.experiment['experiment_id']}{on}, {valid} valid trials"


def identity(experiment: Experiment) -> dict[str, str]:
    """Name an experiment, for JSON, and its stack if it is one of several."""
    return {
        **({"stack": experiment.stacks[0]} if experiment.stacks else {}),
        "experiment_id": experiment.experiment["experiment_id"],
        "directory": printable(str(experiment.directory)),
    }


def _fields(change: Change) -> tuple[str, ...]:
    pct = "-" if change.pct is None else f"{change.pct:+.1f}"
    ends = "-" if change.low is None or change.high is None else f"[{change.low:+.1f}, {change.high:+.1f}]"
    n = f"{change.n_new} / {change.n_baseline}"
    return change.method, TITLES[change.metric], pct, ends, n, change.verdict


def _explanation(comparison: Comparison) -> str:
    threshold = f"{comparison.threshold_percent:g} %"
    name = comparison.outcome.name
    if name == "no regression":
        return f": no loss of more than {threshold} in any metric of any method"
    if name == "too noisy":
        least = comparison.least_threshold_percent or 0
        return (
            f" to say: a loss of more than {threshold} is not excluded; raise repeats or quiet the machine, or use"
            f" --threshold-percent {math.ceil(least)} or more"
        )
    if name == "regression":
        count = sum(change.decides and change.verdict == "regression" for change in comparison.changes)
        return (
            f": {count} of {sum(change.decides for change in comparison.changes)} comparisons, of {threshold} or more"
        )
    return ": nothing was compared" if comparison.obstacles else ": a comparison needs two valid trials per cell"
