# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a playbook asks for, compared with what is there: experiments that compare stacks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.experiment import ExperimentError, begin, prepare
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.plan import Plan
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.record import build
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import write_record

STACKS = {"left": "old", "right": "new"}


def pairs(**of_right: Any) -> dict[str, Any]:
    """Two pairs, the right one of another QEMU."""
    found = {}
    for name, version in (("left", "10.0.2"), ("right", "11.1.0")):
        facts = {"hostname": name, "boot_id": name, "kernel": "6.12.0", "qemu": {"version": version}}
        host = {**facts, **(of_right if name == "right" else {})}
        found[name] = {"source": host, "destination": host}
    return found


@pytest.fixture
def planned(tmp_path: Path, scenario: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """Plan an experiment and return what the module returns, or the refusal."""

    def plan(of: dict[str, Any], stacks: dict[str, str] = STACKS) -> dict[str, Any]:
        arguments = {
            "scenario": {**scenario, "repeats": 2},
            "experiment_id": "mine",
            "results_dir": str(tmp_path),
            "lock_path": str(tmp_path / "lock"),
            "pairs": of,
            "stacks": stacks,
        }
        made = Plan.of(arguments)
        found = made.check(os.getpid())
        if not found.resumed:
            prepare(made.directory)
            begin(made.directory, made.experiment_id, made.scenario, {"pairs": of}, made.compared)
        return made.describe(found)

    return plan


def test_pairs_of_unlike_software_run_the_same_trials(planned: Callable[..., dict[str, Any]]) -> None:
    found = planned(pairs())
    assert found["total"] == len(found["pending"]) == 8
    assert {(trial["stack"], trial["pair"]) for trial in found["pending"]} == {("old", "left"), ("new", "right")}
    assert found["warnings"] == []


def test_without_stacks_unlike_software_is_refused_and_the_error_names_the_way_out(
    planned: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(
        ExperimentError, match=r"unlike in the QEMU version of the source.*give the pairs a testbed_stack"
    ):
        planned(pairs(), {})
    assert not (tmp_path / "mine").exists()


def test_unlike_hardware_is_refused(planned: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    says = (
        r"unlike in the accelerator of the source: not stated \(left\), kvm \(right\).*QEMU, libvirt and kernel, and in"
    )
    with pytest.raises(ExperimentError, match=says):
        planned(pairs(accelerator={"name": "kvm"}))
    assert not (tmp_path / "mine").exists()


def test_stacks_of_one_software_are_noted(planned: Callable[..., dict[str, Any]]) -> None:
    (warning,) = planned(pairs(qemu={"version": "10.0.2"}))["warnings"]
    assert warning.startswith("the stacks old and new have the same QEMU, libvirt and kernel")


def test_what_a_dead_stack_left_is_not_run_by_the_other(
    planned: Callable[..., dict[str, Any]], tmp_path: Path, trial_result: Callable[..., dict[str, Any]]
) -> None:
    first = planned(pairs())["pending"][0]
    assert first["stack"] == "old"
    write_record(tmp_path / "mine" / "trials", *build("mine", first, trial_result(), None, {"pairs": pairs()}))
    found = planned({"right": pairs()["right"]})
    assert found["done"] == [first["id"]]
    assert {trial["pair"] for trial in found["pending"]} == {"right"}
    assert (len(found["pending"]), found["total"]) == (4, 8)
    (warning,) = found["warnings"]
    assert warning.startswith("no pair of the stack old is left: 3 trials are not run; resume the experiment")
    # With both of them, it goes on.
    assert len(planned(pairs())["pending"]) == 7
