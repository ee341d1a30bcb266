# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: T201 - printing is what a command line is for
"""Real nights to prove verdicts with: unchanged ones, and ones whose hosts were made worse underneath the testbed.

Each has a lab, boots and a calibration of its own. What they measured is kept as two tables, from which `power`
resamples: ``nights.jsonl`` has a line per night, ``trials.csv`` a line per valid trial.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from ansible_collections.vcsp.testbed.analysis.data.checked import read_checked
from ansible_collections.vcsp.testbed.analysis.nightly import store
from ansible_collections.vcsp.testbed.analysis.nightly.metrics import METRICS
from ansible_collections.vcsp.testbed.analysis.nightly.nights import Night
from ansible_collections.vcsp.testbed.analysis.nightly.run import Job, run_night
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import Experiment, Record

from .lab import ROOT, BenchmarkError

SCENARIO = ROOT / "scenarios" / "nightly-bare.yml"
NIGHTS_FILE, TRIALS_FILE = "nights.jsonl", "trials.csv"
UNCHANGED = "unchanged"
# Playbook in slower/ -> what it does to a night.
INJECTIONS = {
    "link": "the migration link has 80 % of its rate",
    "prefetching": "the prefetch program lengthens no page request",
    "quota": "no vCPU quota is lifted",
    "fault": "each page fault takes 1 ms more on the link",
}
_NAMES = [metric.name for metric in METRICS]


@dataclass(frozen=True)
class Line:
    """A night that was run.

    :ivar injected: what was done to it: one of `INJECTIONS`, or "unchanged"
    :ivar seconds: how long it took, with its lab, provisioning, calibration and report
    :ivar hit: how the injection is seen to have been there, by something that is no verdict; empty for an unchanged one
    :ivar verdict: the one that it got when it ended
    """

    night: str
    injected: str
    seconds: float
    hit: str
    verdict: str
    date: str
    kind: str
    wished: Mapping[str, float]
    stack: Mapping[str, str]
    failures: tuple[str, ...]


def run(results: Path, scenario: Path, wanted: Mapping[str, int], at_most: int | None) -> None:
    """Run the nights that ``results`` lacks.

    :param wanted: "unchanged" or one of `INJECTIONS` -> how many there shall be
    :param at_most: stop after so many
    :raises BenchmarkError: a night measured nothing, was cancelled, or its injection was not there; it does not count
    """
    results.mkdir(parents=True, exist_ok=True)
    for number, what in enumerate(pending(read_lines(results), wanted)):
        if number == at_most:
            return
        line = _night(results.resolve(), scenario, what)
        with (results / NIGHTS_FILE).open("a", encoding="utf-8") as output:
            output.write(json.dumps(asdict(line)) + "\n")
        print(f"{line.night}: {what}, {line.seconds:.0f} s, {line.verdict}{line.hit and ': '}{line.hit}", flush=True)


def pending(lines: list[Line], wanted: Mapping[str, int]) -> list[str]:
    """Return what is still to be run, in order: the unchanged nights, then each injection in turn."""
    have = Counter(line.injected for line in lines)
    missing = {what: max(0, count - have[what]) for what, count in wanted.items()}
    unchanged, most = missing.pop(UNCHANGED, 0), max(missing.values(), default=0)
    return [UNCHANGED] * unchanged + [what for turn in range(most) for what in missing if missing[what] > turn]


def _night(results: Path, scenario: Path, what: str) -> Line:
    _teardown()
    job = Job(results, str(scenario), playbook=Job.playbook if what == UNCHANGED else _playbook(what))
    began = time.monotonic()
    result = run_night(job, lambda line: print(f"  {line}", file=sys.stderr, flush=True))
    seconds, night_id = time.monotonic() - began, result.verdict.night
    if what != UNCHANGED:  # whatever it was found to be, no night is held against it
        store.decide(results, "reject", night_id, f"injected: {INJECTIONS[what]}")
    night = store.kept(results, night_id)
    if not night.measured or "it was cancelled" in night.failures:
        raise BenchmarkError(f"{night_id} does not count: {'; '.join(night.failures)}")
    hit = "" if what == UNCHANGED else _hit(results, night_id, what)
    return Line(
        night_id, what, round(seconds, 1), hit, result.verdict.outcome, night.date, night.kind, night.wished,
        night.stack, night.failures,
    )  # fmt: skip


def _playbook(injected: str) -> Path:
    return Path(__file__).parent / "slower" / f"{injected}.yml"


def _teardown() -> None:
    """Remove the lab of the night before, with all that was done to it."""
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "playbooks/teardown.yml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise BenchmarkError(f"the lab cannot be removed:\n{done.stdout}{done.stderr}")


def _hit(results: Path, night_id: str, injected: str) -> str:
    """Return how the injection is seen to have been there.

    :raises BenchmarkError: it was not
    """
    experiment = read_checked(results / night_id)
    done = json.loads((results / store.RUNS / night_id / "injected.json").read_text())
    found = evidence(injected, experiment, done)
    if found is None:
        raise BenchmarkError(f"{night_id} does not count: the injection was not there; see {results / night_id}")
    return found


def evidence(injected: str, experiment: Experiment, done: Mapping[str, Any]) -> str | None:
    """Return how ``injected`` is seen to have been there; None if it was not.

    :param done: ``link`` as the lab's module returned it afterwards, and ``quotas_left``, a count
    """
    asked, proof = experiment.scenario["link"], done["link"]["proof"]
    if injected == "link":
        share = proof["bulk_mbit_per_s"] / asked["rate_mbit"]
        return f"a stream reaches {100 * share:.0f} % of the scenario's rate" if 0.7 < share < 0.81 else None
    if injected == "fault":
        more_us = done["link"]["delay_us"] - asked["delay_us"]
        text = f"an exchange over the link takes {proof['ping_us']:.0f} us"
        return text if more_us == 500 and proof["ping_us"] > 1000 else None
    if injected == "prefetching":
        pages = [_pages_per_request(record) for record in experiment.records if record.method.prefetches]
        lengths = [each for each in pages if each is not None]
        return f"requests have {median(lengths):.2f} pages" if lengths and max(lengths) < 1.01 else None
    throttled, left = sum(record.method.throttles for record in experiment.records), int(done["quotas_left"])
    return f"{left} quotas left in {throttled} trials" if left >= throttled > 0 else None


def _pages_per_request(record: Record) -> float | None:
    asked_kb, sent_kb = (record.reading("request_trace", key) for key in ("asked_kb", "sent_kb"))
    return sent_kb / asked_kb if asked_kb and sent_kb else None


def read_lines(directory: Path) -> list[Line]:
    """Read the nights of ``directory``, the oldest first."""
    path = directory / NIGHTS_FILE
    texts = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = [json.loads(text) for text in texts]
    return [Line(**{**each, "failures": tuple(each["failures"])}) for each in found]


def write_tables(results: Path, output: Path) -> None:
    """Write what the nights of ``results`` measured, small enough to be committed."""
    lines = read_lines(results)
    frames = [_trials(line, store.kept(results, line.night)) for line in lines]
    if not frames:
        raise BenchmarkError(f"{results} holds no nights yet")
    output.mkdir(parents=True, exist_ok=True)
    pd.concat(frames).to_csv(output / TRIALS_FILE, index=False, float_format="%.6g")
    text = "".join(json.dumps(asdict(line)) + "\n" for line in lines)
    (output / NIGHTS_FILE).write_text(text, encoding="utf-8")


def _trials(line: Line, night: Night) -> pd.DataFrame:
    def rows() -> Iterator[pd.DataFrame]:
        for cell, metrics in night.values.items():
            frame = pd.DataFrame({name: pd.Series(metrics.get(name, []), dtype=float) for name in _NAMES})
            frame.insert(0, "cell", cell)
            frame.insert(1, "trial", range(1, len(frame) + 1))
            yield frame

    found = pd.concat(list(rows()))
    found.insert(0, "night", line.night)
    found.insert(1, "injected", line.injected)
    return found


def read_tables(directory: Path) -> list[tuple[str, Night]]:
    """Read what `write_tables` wrote: for each night what was injected, and what it measured.

    :raises BenchmarkError: there is nothing
    """
    lines = read_lines(directory)
    if not lines:
        raise BenchmarkError(f"{directory} holds no nights yet: run 'python -m benchmarks nights'")
    trials = pd.read_csv(directory / TRIALS_FILE)
    found = []
    for line in lines:
        cells = trials[trials.night == line.night].groupby("cell", sort=False)
        values = {str(cell): {name: list(rows[name].dropna()) for name in _NAMES} for cell, rows in cells}
        night = Night(line.night, line.date, line.kind, line.wished, values, line.stack, line.failures)
        found.append((line.injected, night))
    return found
