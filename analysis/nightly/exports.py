# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A verdict for people and programs: text, Markdown for a chat message, JSON, JUnit XML; and the nights as data."""

from __future__ import annotations

import json
import re
import sqlite3
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .metrics import BY_NAME, METRICS
from .nights import Night
from .verdict import Finding, Verdict, as_json

# What a chat message shows without folding.
_MOST_CHARACTERS = 1500
_MOST_LINES = 8


@dataclass(frozen=True)
class Result:
    """A verdict, and since which night each of its red pairs of a cell and a metric has been so."""

    verdict: Verdict
    since: Mapping[tuple[str, str], str]


def text(result: Result) -> str:
    """Return the verdict for a terminal."""
    verdict = result.verdict
    lines = [f"{verdict.night}: {verdict.outcome}"]
    lines += [f"  {reason}" for reason in verdict.reasons]
    lines += [f"  {_since(each, result)}" for each in verdict.red]
    lines += [f"  changed: {title}: {before} -> {now}" for title, (before, now) in verdict.stack.items()]
    lines += [f"  note: {note}" for note in verdict.notes]
    if verdict.findings:
        lines += ["", "  would have been seen, in force (wished for), %:"]
        lines += [f"    {line}" for line in _thresholds(verdict.findings)]
    return "\n".join(lines)


def markdown(result: Result) -> str:
    """Return the verdict as a chat message: at most 1500 characters."""
    verdict = result.verdict
    lines = [f"**{verdict.night}: {verdict.outcome}**", ""]
    shown = [*verdict.reasons[:_MOST_LINES]]
    if len(verdict.reasons) > _MOST_LINES:
        shown.append(f"and {len(verdict.reasons) - _MOST_LINES} more")
    shown += sorted({f"since {night}" for night in result.since.values()})
    shown += [f"changed: {title}: {before} → {now}" for title, (before, now) in verdict.stack.items()]
    lines += [f"- {line}" for line in shown]
    if not shown and verdict.findings:
        lines.append(f"Nothing is worse, against {len(verdict.baseline)} nights.")
    message = "\n".join(lines)
    if len(message) > _MOST_CHARACTERS:
        message = message[: _MOST_CHARACTERS - 2].rpartition("\n")[0] + "\n…"
    return message


def to_json(result: Result) -> str:
    """Return the verdict with all that it rests on."""
    found = as_json(result.verdict)
    for each in found["findings"]:
        each["since"] = result.since.get((each["cell"], each["metric"]))
    return json.dumps(found, indent=2, ensure_ascii=False)


def junit(result: Result) -> str:
    """Return the verdict as JUnit XML: a test per cell and metric, and one for the night."""
    verdict = result.verdict
    suite = ET.Element("testsuite", name=f"nightly {verdict.night}")
    night = ET.SubElement(suite, "testcase", classname="nightly", name="verdict")
    if verdict.outcome == "failed":
        ET.SubElement(night, "error", message="failed").text = "\n".join(verdict.reasons)
    elif verdict.outcome in ("learning", "insensitive"):
        ET.SubElement(night, "skipped", message=f"{verdict.outcome}: {'; '.join(verdict.reasons)}")
    for each in verdict.findings:
        case = ET.SubElement(suite, "testcase", classname=f"nightly.{each.cell}", name=each.metric)
        said = f"{each.loss:+.1f} % [{each.low:.1f}, {each.high:.1f}], threshold in force {each.in_force:.1f} %"
        if each.red and not each.quiet:
            ET.SubElement(case, "failure", message=said).text = _since(each, result)
        elif each.quiet:
            ET.SubElement(case, "skipped", message=f"in quarantine; {said}")
        elif each.blind:
            ET.SubElement(case, "skipped", message=f"not seen; {said}")
    failures, errors, skipped = (len(suite.findall(f"testcase/{kind}")) for kind in ("failure", "error", "skipped"))
    suite.attrib |= {
        "tests": str(len(suite)), "failures": str(failures), "errors": str(errors), "skipped": str(skipped),
    }  # fmt: skip
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)


FORMATS = {"text": text, "markdown": markdown, "json": to_json, "junit": junit}


def openmetrics(results: Sequence[tuple[Night, Result]]) -> str:
    """Return the last night's values and verdict as OpenMetrics text, for a scrape or a textfile collector."""
    lines = [
        "# TYPE vcsp_nightly_verdict stateset",
        "# HELP vcsp_nightly_verdict Verdict on the last night.",
    ]
    if results:
        night, result = results[-1]
        lines += [
            f'vcsp_nightly_verdict{{vcsp_nightly_verdict="{outcome}"}} {int(result.verdict.outcome == outcome)}'
            for outcome in ("ok", "learning", "insensitive", "regression", "failed")
        ]
        for metric in METRICS:
            values = {cell: found[metric.name] for cell, found in night.values.items() if found.get(metric.name)}
            if values:
                name = re.sub(r"_kb$", "_kilobytes", f"vcsp_nightly_{metric.measurement}")
                lines += [f"# TYPE {name} gauge", f"# HELP {name} Mean of a night's trials: {metric.title}."]
                lines += [
                    f'{name}{{cell="{_escaped(cell)}"}} {sum(each) / len(each):.9g}' for cell, each in values.items()
                ]
        lines += ["# TYPE vcsp_nightly_loss_ratio gauge", "# HELP vcsp_nightly_loss_ratio Loss against the baseline."]
        lines += [
            f'vcsp_nightly_loss_ratio{{cell="{_escaped(each.cell)}",metric="{each.metric}"}} {each.loss / 100:.6g}'
            for each in result.verdict.findings
        ]
    return "\n".join([*lines, "# EOF", ""])


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def write_sqlite(path: Path, nights: Sequence[Night], outcomes: Mapping[str, str]) -> None:
    """Write every value of every night; pandas: ``read_sql("SELECT * FROM trials", sqlite3.connect(path))``."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE nights (night TEXT PRIMARY KEY, date TEXT, verdict TEXT, kind TEXT)")
        database.execute("CREATE TABLE trials (night TEXT, cell TEXT, metric TEXT, unit TEXT, number INT, value REAL)")
        database.execute("CREATE TABLE stack (night TEXT, title TEXT, value TEXT)")
        for night in nights:
            row = (night.id, night.date, outcomes.get(night.id), night.kind)
            database.execute("INSERT INTO nights VALUES (?, ?, ?, ?)", row)
            database.executemany(
                "INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (night.id, cell, metric, BY_NAME[metric].unit, number, value)
                    for cell, metrics in night.values.items()
                    for metric, values in metrics.items()
                    for number, value in enumerate(values, start=1)
                ],
            )
            database.executemany(
                "INSERT INTO stack VALUES (?, ?, ?)", [(night.id, title, value) for title, value in night.stack.items()]
            )


def _since(finding: Finding, result: Result) -> str:
    night = result.since.get((finding.cell, finding.metric), result.verdict.night)
    return f"{finding.cell}: {BY_NAME[finding.metric].title} has been so since {night}"


def _thresholds(findings: Sequence[Finding]) -> list[str]:
    """Return one line per metric: its thresholds in force, the least and the largest of its cells."""
    lines = []
    for metric in dict.fromkeys(each.metric for each in findings):
        found = [each for each in findings if each.metric == metric]
        least, most = (choose(each.in_force for each in found) for choose in (min, max))
        span = f"{least:.1f}" if most - least < 0.05 else f"{least:.1f} to {most:.1f}"
        lines.append(f"{BY_NAME[metric].title}: {span} ({found[0].wished:g})")
    return lines
