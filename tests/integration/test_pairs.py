# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two pairs of embedded hosts: they share the trials out, and one goes on when the other is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, playbook, start_playbook, torn_down, wait_until, write_scenario

pytestmark = pytest.mark.long
OPTIONS = ["-i", str(ROOT / "inventory" / "pairs")]
# Two repeats a pair, each of two methods.
SETTINGS: dict[str, Any] = {"repeats": 4, "methods": ["post-copy", "vcsp"]}


def measured(results: Path) -> list[dict[str, Any]]:
    """The trials that have ended, by their beginning."""
    found = [json.loads(path.read_text()) for path in results.glob("latest/trials/*/record.json")]
    return sorted(found, key=lambda record: str(record["started_at"]))


def begun(folder: Path, *options: str) -> tuple[subprocess.Popen[str], Path, Path]:
    """An experiment of both pairs that runs, its output, and where its results will be."""
    scenario, results, log = write_scenario(folder, **SETTINGS), folder / "results", folder / "log"
    trials = ["-e", f"scenario={scenario}", "-e", f"results_dir={results}"]
    return start_playbook(log, "experiment.yml", *OPTIONS, *trials, *options), log, results


@pytest.fixture(scope="module", autouse=True)
def labs() -> Iterator[None]:
    """Both labs, from nothing to nothing."""
    with torn_down(OPTIONS, "vcsp-left", "vcsp-right"):
        yield


def test_pairs_of_one_machine_take_turns(tmp_path: Path) -> None:
    process, log, results = begun(tmp_path)
    assert process.wait(1200) == 0, log.read_text()
    found = measured(results)
    assert Counter(record["trial"]["pair"] for record in found) == {"left": 4, "right": 4}
    assert all(before["ended_at"] <= after["started_at"] for before, after in pairwise(found))
    for record in found:
        for host in ("source", "destination"):
            assert record["provenance"][host]["hostname"].startswith(record["trial"]["pair"])
    pairs = {record["trial"]["repeat"]: record["trial"]["pair"] for record in found}
    assert [record["trial"]["pair"] for record in found] == [pairs[record["trial"]["repeat"]] for record in found]
    assert "vcsp" in (results / "latest" / "report" / "table3.md").read_text()


def test_side_by_side_they_run_at_the_same_time_and_the_report_says_so(tmp_path: Path) -> None:
    process, log, results = begun(tmp_path, "-e", "testbed_side_by_side=true")
    process.wait(1200)  # one may hold no rate while the other runs
    found = measured(results)
    assert {record["trial"]["pair"] for record in found} == {"left", "right"}, log.read_text()
    report = (results / "latest" / "report" / "table3.md").read_text()
    assert "ran on the machine of" in report


def test_the_living_pair_does_what_a_killed_one_left(tmp_path: Path) -> None:
    process, log, results = begun(tmp_path)
    wait_until(lambda: measured(results), 900, "the first trial ended")
    dead = measured(results)[0]["trial"]["pair"]
    living = ({"left", "right"} - {dead}).pop()
    for host in ("source", "dest"):
        namespace = f"vcsp-{dead}-{dead}-{host}"
        listed = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=True)
        for pid in listed.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
    assert process.wait(1200) != 0, log.read_text()
    found = measured(results)
    valid = [record for record in found if record["validity"]["valid"]]
    assert len(valid) == 8, log.read_text()
    assert Counter(record["trial"]["pair"] for record in valid)[living] >= 6
    # Made anew, as for any experiment that comes next.
    assert playbook("playbooks/lab.yml", *OPTIONS).returncode == 0
