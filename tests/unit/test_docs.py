# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The documentation is true: its commands, paths, names, examples and tables are those of the code."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.vcsp.testbed.analysis import command_line
from ansible_collections.vcsp.testbed.docs import generate
from ansible_collections.vcsp.testbed.plugins.module_utils._measure.readings import Readings
from ansible_collections.vcsp.testbed.plugins.module_utils._measure.result import instruments
from ansible_collections.vcsp.testbed.plugins.module_utils._options import Options
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import scenario_hash
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.schema import (
    experiment_problems,
    measurement_names,
    record_problems,
)
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.gate import ScenarioError, load
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.schema import scenario_schema
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.trials import trials

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import benchmarks.__main__  # noqa: E402

DOCS = ROOT / "docs"
DOCUMENTS = [path for folder in (".", "docs", "docs/results", "benchmarks") for path in (ROOT / folder).glob("*.md")]
DOCUMENTS += ROOT.glob("roles/*/*.md")
# Names that stand for the reader's own.
PLACEHOLDERS = ("mine", "mylab")

each_role = pytest.mark.parametrize("role", generate.ROLES, ids=lambda role: role.name)
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def text_of(*folders: str) -> str:
    """All text of the code, but not of this test and the roles' examples, which must not vouch for a name."""
    files = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    files = (path for path in files if path != Path(__file__) and path.name != "example.yml")
    return "\n".join(path.read_text() for path in files if path.suffix in {".py", ".yml", ".j2", ".json", ".c", ".sh"})


FOLDERS = ("plugins", "roles", "playbooks", "inventory", "scenarios", "analysis", "benchmarks", "tests")
FILES = {path.name for folder in (*FOLDERS, "docs") for path in (ROOT / folder).rglob("*")}
TEXT = text_of(*FOLDERS) + (ROOT / "Makefile").read_text()
WORDS = {*re.findall(r"\w+", TEXT), *FILES, *(name.partition(".")[0] for name in FILES)}
VARIABLES = set(re.findall(r"\w+", " ".join(re.findall(r"{{.*?}}", text_of("roles", "playbooks", "inventory")))))
QUANTITIES = {*measurement_names(), *(field.name for field in fields(Options))}
MAKEFILE = (ROOT / "Makefile").read_text()
PARSERS = {"analysis": command_line._parser(), "benchmarks": benchmarks.__main__._parser()}


def examples(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / document).read_text(), re.MULTILINE | re.DOTALL)


def code_and_prose(document: Path) -> tuple[str, str]:
    """A document's fenced and indented blocks, and the rest."""
    code, prose, fenced = [], [], False
    for line in document.read_text().splitlines():
        if line.startswith("```"):
            fenced = not fenced
        else:
            (code if fenced or line.startswith("    ") else prose).append(line)
    return "\n".join(code), "\n".join(prose)


def spans(document: Path) -> list[str]:
    """What stands in backticks; a line may break inside."""
    return [re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", code_and_prose(document)[1])]


def commands(document: Path) -> Iterator[list[str]]:
    """Every command in backticks or blocks as its words, without comments."""
    lines = re.sub(r"\n +\[", " [", code_and_prose(document)[0]).splitlines()
    for line in (*lines, *spans(document)):
        for command in re.split(r"\s(?:&&|\||>)\s", re.split(r"\s#", line)[0]):
            if re.match(r"\s*(make|ansible-playbook|python)\s", command):
                yield shlex.split(command)


def is_own(name: str) -> bool:
    return any(own in name for own in PLACEHOLDERS)


def check_variable(name: str, value: str) -> None:
    assert name in VARIABLES, name
    if name == "scenario" and not is_own(value):
        assert (ROOT / (value if "/" in value else f"scenarios/{value}.yml")).exists(), value


def check_make(given: list[str]) -> None:
    for word in given:
        name, is_variable, value = word.partition("=")
        assert re.search(rf"^{name} \?=" if is_variable else rf"^{name}:", MAKEFILE, re.MULTILINE), word
        if name == "SCENARIO":
            check_variable("scenario", value)


def check_playbook(given: list[str]) -> None:
    rest = iter(given)
    for word in rest:
        if word == "-e":
            name, _, value = next(rest).partition("=")
            check_variable(name, value)
        else:
            path = next(rest) if word == "-i" else word
            assert is_own(path) or (ROOT / path).exists(), path


def check_python(given: list[str]) -> None:
    if given[0] != "-m":
        assert (ROOT / given[0]).exists(), given[0]
        return
    parser, arguments = PARSERS[given[1]], given[2:]
    with redirect_stdout(io.StringIO()) as usage, pytest.raises(SystemExit, match="0"):
        # The commands of "nightly" have options of their own.
        parser.parse_args([*arguments[: 2 if arguments[:1] == ["nightly"] else 1], "--help"])
    option = r"--[\w-]+"
    assert set(re.findall(option, " ".join(arguments))) <= set(re.findall(option, usage.getvalue())), given
    if arguments and "[" not in "".join(arguments):  # else it is a name only, or a synopsis
        parser.parse_args(arguments)


CHECKS = {"make": check_make, "ansible-playbook": check_playbook, "python": check_python}


@each_document
def test_commands_can_be_given(document: Path) -> None:
    for program, *given in commands(document):
        CHECKS[program](given)


@each_document
def test_paths_lead_somewhere(document: Path) -> None:
    code, prose = code_and_prose(document)
    for target in re.findall(r"\]\(([^)#:]+)\)", prose):
        assert (document.parent / target).exists(), target
    for word in " ".join((code, *spans(document))).split():
        name = word.strip(",:;()")
        if is_own(name) or re.search(r"[<>]|^/|^results/", name):
            continue
        if "/" in name and (ROOT / name.partition("/")[0]).is_dir():
            assert any(ROOT.glob(name)), name
        elif re.fullmatch(r"[\w./-]+\.(py|yml|c|sh)", name):
            assert name in FILES or name in os.listdir(ROOT), name
        elif re.fullmatch(r"[\w.-]+\.(json|csv|html|md|txt|svg)", name):  # it may be one that the code writes
            assert name in TEXT or name in FILES or name in os.listdir(ROOT), name


@each_document
def test_names_occur_in_the_code(document: Path) -> None:
    for span in spans(document):
        # Names with an underscore inside, of classes and of functions; not <role>_x.
        for name in re.findall(r"(?<![<>\w])\w+_\w+|^[A-Z][a-z]+$|\w+(?=\(\))", span):
            assert name in WORDS, name
        for name in re.findall(r"^_[a-z]+$", span):  # of a room, or a unit
            assert name in WORDS or any(quantity.endswith(name) for quantity in QUANTITIES), name


@each_document
def test_generated_parts_are_those_of_the_code(document: Path) -> None:
    assert generate.generated(document.read_text()) == document.read_text(), "run make docs"


def test_methods_have_their_generated_tables() -> None:
    assert {part[2] for part in generate.PART.finditer((DOCS / "methods.md").read_text())} == set(generate.PARTS)


@each_role
def test_the_readme_of_a_role_is_that_of_the_code(role: Path) -> None:
    assert (role / "README.md").read_text() == generate.readme(role), "run make docs"


@each_role
def test_the_example_of_a_role_uses_it_as_it_can_be_used(role: Path) -> None:
    (play,) = yaml.safe_load((role / "example.yml").read_text())
    registered = {task["register"] for task in play["tasks"] if "register" in task}
    used = set()
    for task in play["tasks"]:
        for action in ("ansible.builtin.include_role", "ansible.builtin.import_role"):
            if action in task:
                name = task[action]["name"].removeprefix("vcsp.testbed.")
                specs = yaml.safe_load((ROOT / "roles" / name / "meta" / "argument_specs.yml").read_text())
                options = specs["argument_specs"][Path(task[action].get("tasks_from", "main")).stem]["options"]
                given = {*task.get("vars", {}), task.get("loop_control", {}).get("loop_var")} - {None}
                assert given <= options.keys()
                assert {option for option, spec in options.items() if spec.get("required")} <= given | registered
                used.add(name)
    assert role.name in used


def test_the_examples_of_the_roles_are_playbooks() -> None:
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    check = [
        sys.executable,
        "-m",
        "ansible",
        "playbook",
        "--syntax-check",
        *(str(r / "example.yml") for r in generate.ROLES),
    ]
    done = subprocess.run(check, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from keys(entry)


@each_document
def test_keys_of_examples_occur_in_the_code(document: Path) -> None:
    text = document.read_text()
    for example in re.findall(r"^```(?:json|yaml)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for key in keys(yaml.safe_load(example)):
            assert set(key.split(".")) <= WORDS, key


@pytest.mark.parametrize("text", examples("scenario.md", "yaml"))
def test_scenarios_load(text: str) -> None:
    assert holds(load(text), yaml.safe_load(text))


@pytest.mark.parametrize("text", examples("methods.md", "yaml"))
def test_methods_load(text: str) -> None:
    assert load({"name": "a", "workloads": [{"window_mb": 8}], **yaml.safe_load(text)})


def holds(whole: Any, part: Any) -> bool:
    """Whether an example agrees with the whole, which may have more: defaults, and settings that are newer."""
    if isinstance(whole, dict):
        return whole.get("name") == part or all(holds(whole[key], value) for key, value in part.items())
    if isinstance(whole, list):
        return len(whole) == len(part) and all(map(holds, whole, part))
    return bool(whole == part)


def rows(document: str) -> list[list[str]]:
    """The rows of the first table, without its head."""
    lines = [line for line in (DOCS / document).read_text().splitlines() if line.startswith("|")]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[2:]]


def places(schema: dict[str, Any], prefix: str = "") -> dict[str, dict[str, Any]]:
    found = {}
    for key, part in schema["properties"].items():
        if part.get("type") == "object":
            found |= places(part, f"{prefix}{key}.")
        else:
            found[prefix + key] = part
            if "properties" in part.get("items", {}):
                found |= places(part["items"], f"{prefix}{key}[].")
    return found


def test_table_of_keys_is_the_schema() -> None:
    told = {key: (default, allowed) for key, default, allowed, _text in rows("scenario.md")}
    schema = places(scenario_schema())
    assert told.keys() == schema.keys()
    for key, part in schema.items():
        default, allowed = told[key]
        assert yaml.safe_load(default) == part.get("default", "required"), key
        if "enum" in part:
            assert allowed == ", ".join(part["enum"]), key
        elif "maximum" in part:
            assert allowed == f"{part['minimum']} to {part['maximum']}", key


def test_errors_shown_are_those_that_come() -> None:
    bad = {
        "name": "mine",
        "workloads": [{"window_mb": 8}, {"window_mb": 9, "windw_mb": 1}],
        "methods": [{"name": "a", "vcpu_quota_percent": 101}],
    }
    with pytest.raises(ScenarioError) as caught:
        load(bad, "mine.yml")
    for problem in caught.value.problems:
        assert f"\n    {problem}\n" in (DOCS / "scenario.md").read_text()


def test_experiment_and_record() -> None:
    experiment, record = map(json.loads, examples("record.md", "json"))
    assert experiment["scenario_hash"] == scenario_hash(experiment["scenario"])
    assert experiment_problems(experiment) == []
    assert holds(load(experiment["scenario"]), experiment["scenario"])
    assert record_problems(record) == []
    assert record["trial"] == trials(experiment["scenario"])[0]


def test_instruments_and_measurements() -> None:
    record = json.loads(examples("record.md", "json")[1])
    known = instruments(Options(**dict.fromkeys(field.name for field in fields(Options))), Readings(), None)
    assert record["instruments"].keys() <= known.keys()
    assert known.keys() <= set(spans(DOCS / "measurement.md"))
    assert record["measurements"].keys() == set(measurement_names())
    told = {name for cells in rows("measurement.md") for name in re.findall(r"\w+", cells[0])}
    assert told == set(measurement_names())


def test_tables_over_time() -> None:
    telemetry, requests = (list(csv.reader(io.StringIO(text))) for text in examples("record.md", "csv"))
    assert telemetry[0] == ["time_s", "host", "pages", "stalls", "stall_ms"]
    assert requests[0] == ["time_s", "block", "start", "asked", "sent_start", "sent"]
    assert {len(row) for row in telemetry} == {5}
    assert {len(row) for row in requests} == {6}


def test_the_settings_that_hold_in_a_users_shell_are_those_named() -> None:
    kept = re.search(r"^KEPT := ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert kept is not None
    rows = [line for line in (DOCS / "commands.md").read_text().splitlines() if line.startswith("| `ANSIBLE_")]
    named = [name for row in rows for name in re.findall(r"`(ANSIBLE_\w+)`", row)]
    assert sorted(named) == sorted(kept[1].replace("\\\n", " ").split())
