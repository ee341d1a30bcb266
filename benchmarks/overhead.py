# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a trial costs beside what it measures, and what Ansible alone takes for as many tasks that do nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.events import time_of_s
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import read_experiment

from . import lab
from .report import Spread, machine, spread, table

FEW, MANY = 5, 25


class Parts(NamedTuple):
    """Seconds of one trial.

    :ivar wall: from its beginning to that of the next one
    :ivar measured: its baseline, migration and observation
    :ivar module: what else the migration's module did: connecting, preparing, verifying memory, ending the guest
    :ivar around: what the trial's other tasks took: a guest made ready, its rate found again, the record written
    """

    wall: float
    measured: float
    module: float
    around: float


def parts(records: Sequence[Mapping[str, Any]]) -> list[Parts]:
    """Take consecutive trials apart; times of day are known to the second, so a mean tells more than one of them.

    :raises BenchmarkError: there are too few trials for that.
    """
    found = []
    for record, following in pairwise(sorted(records, key=lambda record: record["started_at"])):
        begin_s = time_of_s(record["events"], "source", "MIGRATION", "setup")
        end_s = time_of_s(record["events"], "module", "OBSERVATION_END")
        if begin_s is None or end_s is None or following["trial"]["index"] != record["trial"]["index"] + 1:
            continue  # it failed, or the experiment was interrupted
        measured_s = record["trial"]["baseline_s"] + end_s - begin_s
        wall_s, module_s = _seconds(record, following["started_at"]), _seconds(record, record["ended_at"])
        found.append(Parts(wall_s, measured_s, module_s - measured_s, wall_s - module_s))
    if len(found) < 2:
        raise lab.BenchmarkError("too few trials ran one after the other: give an experiment of at least three")
    return found


def run(directory: Path, repeats: int) -> str:
    """Return the page about an experiment's trials, beside as many empty modules in the embedded lab.

    :param repeats: how often the empty modules are timed
    :raises InputError: it is not an experiment
    :raises BenchmarkError: there is no lab, or there are too few trials
    """
    records = [record.data for record in read_experiment(directory).records]
    trials = parts(records)
    with lab.taken():
        return markdown(records[0], trials, spread([_empty_trial_s() for _ in range(repeats)]))


def markdown(one: Mapping[str, Any], trials: Sequence[Parts], empty: Spread) -> str:
    """Return the page.

    :param one: any of the records, for what they were measured on
    """
    mean = Parts(*(sum(values) / len(trials) for values in zip(*trials, strict=True)))
    guest, hosts = one["trial"]["guest"], one["provenance"]
    rows = [
        ("a trial, from its beginning to that of the next one", f"{mean.wall:.2f}"),
        ("measured: baseline, migration and observation", f"{mean.measured:.2f}"),
        (
            "the migration's module before and after that: it connects, verifies memory, ends the guest",
            f"{mean.module:.2f}",
        ),
        ("the other tasks: a guest is made ready, the record is written", f"{mean.around:.2f}"),
        ("three modules that do nothing, over the same SSH", empty.text(2)),
        ("**not measured, above three empty modules**", f"**{mean.wall - mean.measured - empty.median:.2f}**"),
    ]
    lines = [
        "# What a trial costs",
        f"Written by `python -m benchmarks overhead`. {machine(hosts['destination'], hosts['controller'])}. "
        f"{len(trials)} trials, one after the other, of a {guest['system']} guest of {guest['memory_mb']} MB. "
        f"Means; for the empty modules the median of {empty.n} runs with its interval.",
        table(["part", "seconds a trial"], rows),
    ]
    return "\n\n".join(lines) + "\n"


def _empty_trial_s() -> float:
    """Return seconds for three empty modules; two runs of the playbook differ in nothing else."""
    few, many = (_playbook_s(count) for count in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def _playbook_s(count: int) -> float:
    begun = time.monotonic()
    done = lab.ansible("ansible-playbook", "benchmarks/empty.yml", "-e", f"empty_trials={count}")
    if done.returncode:
        raise lab.BenchmarkError(f"the empty modules failed:\n{done.stdout}{done.stderr}")
    return time.monotonic() - begun


def _seconds(record: Mapping[str, Any], until: str) -> float:
    return (datetime.fromisoformat(until) - datetime.fromisoformat(record["started_at"])).total_seconds()
