# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a playbook asks for, a scenario in a directory, compared with what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail

from .._records.records import scenario_hash
from .._records.traits import same_software, shared_machines, unlike
from .._scenario.gate import ScenarioError, load
from . import experiment, lock
from .shares import deal


@dataclass(frozen=True)
class Plan:
    """An experiment that is to be begun or resumed.

    :ivar locks: the machine's and its own
    :ivar pairs: name -> provenance of the ``source`` and the ``destination``; empty where the inventory names none
    :ivar side_by_side: whether they measure at the same time
    :ivar stacks: name of a pair -> its stack, also of pairs that have died; empty where the experiment compares none
    """

    scenario: Mapping[str, Any]
    experiment_id: str
    directory: Path
    locks: tuple[Path, Path]
    pairs: Mapping[str, Any]
    side_by_side: bool
    stacks: Mapping[str, str]

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Plan:
        """Read it from a module's arguments; a null or empty id is what a playbook has whose user gave none.

        :raises ScenarioError: the scenario is wrong
        :raises ExperimentError: the id is no directory name
        """
        scenario = load(arguments["scenario"])
        experiment_id = str(arguments["experiment_id"] or experiment.default_id(scenario))
        experiment.check_id(experiment_id)
        directory = Path(arguments["results_dir"]).absolute() / experiment_id
        machine = Path(arguments["lock_path"] or lock.default_path())
        locks = machine, directory / experiment.LOCK_FILE
        side_by_side = bool(arguments.get("side_by_side"))
        pairs, stacks = arguments.get("pairs") or {}, arguments.get("stacks") or {}
        return cls(scenario, experiment_id, directory, locks, pairs, side_by_side, stacks)

    @property
    def compared(self) -> tuple[str, ...]:
        """The stacks that the experiment compares, the reference first."""
        return tuple(dict.fromkeys(self.stacks.values()))

    def check(self, pid: int) -> experiment.Found:
        """Return how far the experiment is if a process could go on with it, changing nothing.

        :raises ExperimentError: with a line for each reason why it could not: another process holds the locks; the
            directory cannot be used, or holds something else; the pairs are unlike, or disturb each other
        :raises LockedError: another process holds the experiment's own lock
        """
        machine, own = self.locks
        problems = [
            f"the pairs are unlike in the {each}, and trials of unlike hosts are not pooled; {self._advice}"
            for each in unlike(self.pairs, self.stacks)
        ]
        problems += [
            f"{' and '.join(names)} share a machine, where each would disturb what the other measures; let the pairs "
            f"take turns with -e testbed_side_by_side=false, or give each machines of its own"
            for names in (shared_machines(self.pairs) if self.side_by_side else [])
        ]
        for look in (partial(lock.check, machine, pid), partial(experiment.check_place, self.directory)):
            try:
                look()
            except (lock.LockedError, experiment.ExperimentError) as error:
                problems.append(str(error))
        if problems:
            raise experiment.ExperimentError("\n".join(problems))
        lock.check(own, pid)
        return experiment.find(self.directory, self.experiment_id, self.scenario, self.compared)

    @property
    def _advice(self) -> str:
        if self.stacks:
            return (
                "pairs of different stacks may differ in QEMU, libvirt and kernel, and in nothing else; those of one "
                "stack are alike"
            )
        return (
            "give each kind of pair an inventory and an experiment of its own, or, to compare QEMU, libvirt or kernel, "
            "give the pairs a testbed_stack (docs/stacks.md)"
        )

    def describe(self, found: experiment.Found) -> dict[str, Any]:
        """Return what the modules return about it."""
        pending = found.pending
        if self.pairs:
            pending = deal(pending, {name: self.stacks.get(name) for name in self.pairs}, found.begun, self.scenario)
        return {
            "experiment_id": self.experiment_id,
            "experiment_dir": str(self.directory),
            "resumed": found.resumed,
            "pending": pending,
            "done": found.done,
            "lost": found.lost,
            "total": len(found.pending) + len(found.done),
            "scenario_hash": scenario_hash(self.scenario),
            "warnings": [*found.notes, *self._too_few_repeats(), *self._of_stacks(found, len(pending))],
        }

    def _too_few_repeats(self) -> list[str]:
        sizes = Counter(self.stacks.get(name) for name in self.pairs)
        most = max(sizes.values(), default=0)
        repeats, least = self.scenario["repeats"], 2 * most
        if most < 2 or repeats >= least:
            return []
        return [
            f"{repeats} repeats are shared out over {most} pairs, and one that gets a single repeat shows "
            f"no scatter, so that there is no interval; give the scenario at least {least} repeats"
        ]

    def _of_stacks(self, found: experiment.Found, dealt: int) -> list[str]:
        living = {self.stacks.get(name) for name in self.pairs}
        dead = [stack for stack in self.compared if stack not in living]
        if not self.pairs or not self.stacks:
            return []
        if dead:
            return [
                f"no pair of the stack {' or '.join(dead)} is left: {len(found.pending) - dealt} trials are not run; "
                f"resume the experiment when its hosts are back"
            ]
        if same_software(self.pairs):
            return [
                f"the stacks {' and '.join(self.compared)} have the same QEMU, libvirt and kernel, so what they differ "
                f"in is their hosts and chance"
            ]
        return []


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what is wrong with a plan into the failure of a task."""
    try:
        yield
    except (experiment.ExperimentError, ScenarioError, lock.LockedError) as error:
        raise AnsibleActionFail(str(error)) from None
    except OSError as error:
        raise AnsibleActionFail(f"{error}; give another results_dir or lock_path") from None
