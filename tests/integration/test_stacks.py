# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two stacks of embedded hosts: they run the same trials in turn, and neither does what a dead one has left."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, environment, playbook, start_playbook, torn_down, wait_until, write_scenario

pytestmark = pytest.mark.long
INVENTORY = ROOT / "inventory" / "stacks"
OPTIONS = ["-i", str(INVENTORY)]
STACKS = {"debian-13": "old", "debian-13-backports": "new"}
# Two repeats on each stack, each of two methods. The bare guest boots at once, emulated on both.
SETTINGS: dict[str, Any] = {
    "repeats": 2,
    "guest": {"system": "bare", "accelerator": "tcg", "memory_mb": 256},
    "methods": ["post-copy", {"name": "push", "transfer": "push"}],
}
TRIALS = 8
# Four systems of their own are unpacked, booted and provisioned first.
TIMEOUT_S = 3600


def analysis(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "analysis", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S)


def measured(experiment: Path) -> list[dict[str, Any]]:
    """The trials that have ended, by their beginning."""
    found = [json.loads(path.read_text()) for path in experiment.glob("trials/*/record.json")]
    return sorted(found, key=lambda record: str(record["started_at"]))


def stacks_of(records: list[dict[str, Any]]) -> list[str]:
    return [record["trial"]["stack"] for record in records]


@pytest.fixture(scope="module", autouse=True)
def labs() -> Iterator[None]:
    """Both labs, from nothing to nothing."""
    with torn_down(OPTIONS, "vcsp-old", "vcsp-new"):
        yield


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an experiment of both stacks that has ended."""
    folder = tmp_path_factory.mktemp("stacks")
    trials = ["-e", f"scenario={write_scenario(folder, **SETTINGS)}", "-e", f"results_dir={folder / 'results'}"]
    done = playbook("experiment.yml", *OPTIONS, *trials, timeout_s=TIMEOUT_S)
    assert done.returncode == 0, done.stdout
    return (folder / "results" / "latest").resolve()


def test_both_stacks_run_every_trial_in_turn(experiment: Path) -> None:
    found = measured(experiment)
    assert Counter(stacks_of(found)) == dict.fromkeys(STACKS, TRIALS // 2)
    assert all(record["validity"]["valid"] for record in found)
    assert all(before["ended_at"] <= after["started_at"] for before, after in pairwise(found))
    plan = sorted(found, key=lambda record: int(record["trial"]["index"]))
    firsts = []
    for one, other in zip(plan[::2], plan[1::2], strict=True):
        assert {one["trial"]["stack"], other["trial"]["stack"]} == {*STACKS}
        for key in ("repeat", "workload", "method"):
            assert one["trial"][key] == other["trial"][key]
        firsts.append(one["trial"]["stack"])
    assert Counter(firsts) == dict.fromkeys(STACKS, TRIALS // 4)


def test_each_record_is_of_the_hosts_of_its_stack(experiment: Path) -> None:
    versions: dict[str, set[str]] = {}
    for record in measured(experiment):
        stack = record["trial"]["stack"]
        assert record["trial"]["pair"] == STACKS[stack]
        for host in ("source", "destination"):
            facts = record["provenance"][host]
            assert facts["hostname"].startswith(STACKS[stack])
            versions.setdefault(stack, set()).add(facts["qemu"]["version"])
    old, new = (versions[stack] for stack in STACKS)
    assert len(old) == len(new) == 1
    assert old != new
    assert json.loads((experiment / "experiment.json").read_text())["stacks"] == [*STACKS]


def test_the_report_holds_them_against_each_other(experiment: Path) -> None:
    report = experiment / "report"
    text = (report / "stacks.txt").read_text()
    for stack in STACKS:
        assert (report / "stacks" / stack / "table3.csv").exists()
        assert f"Stack {stack}: " in text
    assert "QEMU version of the source: " in text
    with (report / "stacks.csv").open() as lines:
        changes = list(csv.DictReader(lines))
    assert {(row["reference"], row["stack"]) for row in changes} == {tuple(STACKS)}
    assert {row["method"] for row in changes} == {"post-copy", "push"}
    done = analysis("compare", experiment, "--format", "json")
    assert done.returncode in (0, 10, 11), done.stdout + done.stderr
    assert json.loads(done.stdout)["new"]["stack"] == "debian-13-backports"


def test_the_living_stack_does_its_own_trials_alone_and_a_resume_the_rest(tmp_path: Path) -> None:
    results, log = tmp_path / "results", tmp_path / "log"
    trials = ["-e", f"scenario={write_scenario(tmp_path, **SETTINGS)}", "-e", f"results_dir={results}"]
    process = start_playbook(log, "experiment.yml", *OPTIONS, *trials)
    wait_until(lambda: measured(results / "latest"), TIMEOUT_S, "the first trial ended")
    for host in ("source", "dest"):
        namespace = f"vcsp-old-old-{host}"
        listed = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=True)
        for pid in listed.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
    assert process.wait(TIMEOUT_S) != 0, log.read_text()
    directory = (results / "latest").resolve()
    valid = [record for record in measured(directory) if record["validity"]["valid"]]
    counts = Counter(stacks_of(valid))
    assert counts["debian-13-backports"] == TRIALS // 2, log.read_text()
    assert counts["debian-13"] < TRIALS // 2
    assert "no pair of the stack debian-13 is left" in " ".join(log.read_text().split())
    # The lab is made anew, and the rest is run.
    again = ["-e", f"experiment_id={directory.name}"]
    done = playbook("experiment.yml", *OPTIONS, *trials, *again, timeout_s=TIMEOUT_S)
    assert done.returncode == 0, done.stdout
    assert Counter(stacks_of(measured(directory))) == dict.fromkeys(STACKS, TRIALS // 2)


def test_a_night_of_stacks(tmp_path: Path) -> None:
    scenario, results = write_scenario(tmp_path, **SETTINGS), tmp_path / "nightly"
    done = analysis("nightly", "run", "--inventory", INVENTORY, "--scenario", scenario, "--results", results)
    assert "learning" in done.stdout, done.stdout + done.stderr
    page = (results / "history" / "index.html").read_text()
    for stack, pair in STACKS.items():
        assert f"{stack}-0008mb-sequential-push on {pair}" in page
