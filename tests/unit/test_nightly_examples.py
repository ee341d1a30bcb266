# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The pipelines of docs/nightly.md: valid by the keywords of GitLab and of GitHub Actions, with commands that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.vcsp.testbed.analysis import command_line
from ansible_collections.vcsp.testbed.analysis.nightly import history

ROOT = Path(__file__).resolve().parents[2]
# docs.gitlab.com/ci/yaml and docs.github.com/actions/reference/workflows-and-actions/workflow-syntax: what is used.
GITLAB_JOB = {"rules", "resource_group", "timeout", "script", "after_script", "artifacts"}
GITHUB_JOB = {"runs-on", "timeout-minutes", "steps"}
GITHUB_STEP = {"name", "uses", "run", "if", "with", "env"}


def pipeline(heading: str) -> dict[Any, Any]:
    text = (ROOT / "docs" / "nightly.md").read_text()
    found: dict[Any, Any] = yaml.safe_load(text.split(f"**{heading}**")[1].split("```yml\n")[1].split("```")[0])
    return found


def check_commands(lines: list[str]) -> None:
    for line in lines:
        subprocess.run(["bash", "-n", "-c", line], check=True)
        words = shlex.split(line.partition(" >>")[0])
        if words[1:3] == ["-m", "analysis"]:
            assert words[0] == ".venv/bin/python"
            command_line._parser().parse_args(words[3:])
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        else:
            assert words[0] in ("cp", "cat")


def results_directory(lines: list[str]) -> str:
    [found] = {match[1] for line in lines if (match := re.search(r"--results (\S+)", line))}
    return found


def test_gitlab() -> None:
    [job] = pipeline("GitLab").values()
    assert set(job) <= GITLAB_JOB
    assert all(set(rule) == {"if"} and re.fullmatch(r'\$\w+ == "\w+"', rule["if"]) for rule in job["rules"])
    assert re.fullmatch(r"\d+ hours", job["timeout"])
    check_commands([*job["script"], *job["after_script"]])
    # What is kept is what the command writes.
    [copy] = job["after_script"]
    assert shlex.split(copy)[2:] == [f"{results_directory(job['script'])}/{history.DIRECTORY}", "history"]
    assert job["artifacts"] == {"when": "always", "paths": ["history"], "reports": {"junit": "history/junit.xml"}}


def test_github() -> None:
    workflow = pipeline("GitHub Actions")
    triggers = workflow.pop(True)  # what YAML 1.1 takes "on" for
    assert set(workflow) == {"concurrency", "jobs"}
    [schedule] = triggers["schedule"]
    assert re.fullmatch(r"\d{1,2} \d{1,2} \* \* \*", schedule["cron"])
    [job] = workflow["jobs"].values()
    assert set(job) == GITHUB_JOB
    assert job["runs-on"][0] == "self-hosted"
    assert all(set(step) <= GITHUB_STEP and len({"uses", "run"} & set(step)) == 1 for step in job["steps"])
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]) for step in job["steps"] if "uses" in step)
    lines = [step["run"] for step in job["steps"] if "run" in step]
    check_commands(lines)
    [last] = [step for step in job["steps"] if step.get("if") == "always()"]
    assert f"{results_directory(lines)}/{history.DIRECTORY}/summary.md" in last["run"]


@pytest.mark.parametrize("heading", ["GitLab", "GitHub Actions"])
def test_the_job_outlives_the_command(heading: str) -> None:
    """Else the runner ends it before it has ended what runs on the hosts."""
    found = pipeline(heading)
    job = found["nightly"] if heading == "GitLab" else found["jobs"]["nightly"]
    timeout = job["timeout"] if heading == "GitLab" else job["timeout-minutes"] / 60
    hours = float(str(timeout).split()[0])
    assert hours * 3600 > command_line._parser().parse_args(["nightly", "run"]).timeout + 1800
