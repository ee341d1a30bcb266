# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two stacks of one experiment compared, such as an old QEMU and a new one: has migration become worse?

It is the comparison of two experiments (see ``comparison``), but each repeat was run on both stacks, trial by trial in
turn, so that it is a block: what drifts between repeats meets both, and neither favours one nor widens an interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from ..plugins.plugin_utils._records.errors import InputError
from ..plugins.plugin_utils._records.printable import printable
from ..plugins.plugin_utils._records.records import Experiment, Record
from ..plugins.plugin_utils._records.traits import HOSTS, TRAITS
from .comparison import Comparison, changes_of, notes
from .data.checked import read_checked
from .data.likeness import differences

THRESHOLD_PERCENT = 10.0
_HOSTS = "each stack has hosts of its own, and whatever else these differ in counts as the stack's"
_SAME = "both stacks have the same QEMU, libvirt and kernel: what they differ in is their hosts and chance"


def compare_in(directory: Path, stack: str | None, threshold_percent: float, each_workload: bool = False) -> Comparison:
    """Hold a stack of the experiment in ``directory`` against its first one.

    :param stack: None where there are but two
    :param each_workload: see `comparison.compare`
    :raises InputError: ``directory`` holds no readable experiment, or it does not compare that stack
    """
    experiment = read_checked(directory)
    reference, *others = experiment.stacks or ("",)
    if not others:
        raise InputError(f"{directory}: compares no stacks; give a second experiment to hold against it")
    if stack is None and len(others) > 1:
        raise InputError(
            f"{directory}: say which stack to hold against {reference}, with --stack {' or '.join(others)}"
        )
    if stack is not None and stack not in others:
        raise InputError(f"--stack: {stack} is not one of those to hold against {reference}: {', '.join(others)}")
    return compare_stacks(experiment, stack or others[0], threshold_percent, each_workload)


def compare_stacks(
    experiment: Experiment, stack: str, threshold_percent: float = THRESHOLD_PERCENT, each_workload: bool = False
) -> Comparison:
    """Hold ``stack`` against the experiment's first one."""
    sides = {name: experiment.of_stack(name) for name in (experiment.stacks[0], stack)}
    valid = {name: [record for record in side.records if record.valid] for name, side in sides.items()}
    obstacles = [f"the stack {name} has no valid trial" for name, records in valid.items() if not records]
    obstacles += [f"trials are from unlike hosts: {each}" for each in differences(chain(*valid.values()))]
    baseline, new = sides.values()
    found = () if obstacles else changes_of(baseline, new, threshold_percent, each_workload, paired=True)
    if not obstacles and not found:
        obstacles = ["no method has a valid measurement of one repeat on both stacks"]
    software = [] if obstacles else [*_software(*(records[0] for records in valid.values()))]
    remarks = notes({f"the stack {name}": side for name, side in sides.items()})
    if not obstacles:
        remarks = (*remarks, _HOSTS if software else _SAME)
    return Comparison(baseline, new, threshold_percent, found, tuple(obstacles), tuple(software), remarks)


def _software(reference: Record, other: Record) -> Iterator[str]:
    """Yield what a trial of the second stack ran on instead of the first one's."""
    for host in HOSTS:
        for trait in (trait for trait in TRAITS if trait.of_stack):
            before, after = (trait.of(record.data["provenance"][host]) for record in (reference, other))
            if before != after:
                yield printable(f"{trait.title} of the {host}: {before} -> {after}", 300)
