# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two machines against each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import experiment_factory as factory
import numpy as np
import pytest

from ansible_collections.vcsp.testbed.analysis.command_line import main
from ansible_collections.vcsp.testbed.analysis.concordance import Concordance, _pair, agree
from ansible_collections.vcsp.testbed.analysis.statistics.interval import arm
from ansible_collections.vcsp.testbed.analysis.statistics.metrics import METRICS
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError

BOTH = ("post-copy", "vcsp")
Downtimes = Mapping[str, Sequence[float]]
HALVED: Downtimes = {"post-copy": (98, 100, 102), "vcsp": (49, 50, 51)}


def write(directory: Path, downtimes_ms: Downtimes, kernel: str = "6.1", **scenario: Any) -> Path:
    """Write an experiment of downtimes by method, on a machine with that kernel."""
    of = factory.experiment(BOTH, repeats=len(downtimes_ms["post-copy"]))
    of["scenario"].update(scenario)
    load = of["scenario"]["workloads"][0]
    records = [
        factory.record(of, method, load, repeat, {"downtime_ms": float(value)})
        for method, values in downtimes_ms.items()
        for repeat, value in enumerate(values, 1)
    ]
    for record in records:
        for host in ("source", "destination"):
            record["provenance"][host]["kernel"] = kernel
    return factory.write(directory, of, records)


def held(tmp_path: Path, first: Downtimes, second: Downtimes) -> Concordance:
    return agree(write(tmp_path / "a", first), write(tmp_path / "b", second, kernel="6.12"))


def findings(concordance: Concordance) -> dict[str, str]:
    return {pair.metric: pair.agreement for pair in concordance.pairs}


def test_a_slower_machine_with_the_same_ratio_agrees(tmp_path: Path) -> None:
    slower = {method: [3 * value for value in values] for method, values in HALVED.items()}
    concordance = held(tmp_path, HALVED, slower)
    assert concordance.outcome == ("the machines agree", 0)
    pair = concordance.pairs[0]
    assert (pair.method, pair.metric, pair.agreement) == ("vcsp", "downtime", "agree")
    assert pair.difference == pytest.approx(0)
    assert pair.low is not None and pair.high is not None and pair.low < 0 < pair.high
    assert any("kernel" in text for text in concordance.unlike)


def test_opposite_verdicts_contradict(tmp_path: Path) -> None:
    concordance = held(tmp_path, HALVED, {"post-copy": (98, 100, 102), "vcsp": (119, 120, 121)})
    assert findings(concordance)["downtime"] == "contradict"
    assert concordance.outcome[1] == 10


def test_the_same_verdict_of_another_size_differs(tmp_path: Path) -> None:
    concordance = held(tmp_path, HALVED, {"post-copy": (98, 100, 102), "vcsp": (89, 90, 91)})
    assert findings(concordance)["downtime"] == "differ"
    assert concordance.outcome == ("the machines disagree", 10)


def test_a_certain_but_negligible_difference_is_none(tmp_path: Path) -> None:
    exact = {"post-copy": (100, 100, 100), "vcsp": (50, 50, 50.1)}
    concordance = held(tmp_path, exact, {**exact, "vcsp": (48, 48, 48.1)})
    pair = concordance.pairs[0]
    assert pair.low is not None and pair.low > 0, "it is certain"
    assert pair.agreement == "agree"


def test_without_a_verdict_on_both_machines_nothing_is_agreed_upon(tmp_path: Path) -> None:
    noisy = {"post-copy": (60, 100, 140), "vcsp": (40, 80, 120)}
    concordance = held(tmp_path, noisy, noisy)
    assert findings(concordance)["downtime"] == "compatible"
    assert concordance.outcome[1] == 11


def test_single_trials_say_nothing(tmp_path: Path) -> None:
    concordance = held(tmp_path, {"post-copy": (100,), "vcsp": (50,)}, HALVED)
    assert findings(concordance)["downtime"] == "too few trials"
    assert concordance.outcome[1] == 12


def test_other_scenarios_are_not_held_against_each_other(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", HALVED), write(tmp_path / "b", HALVED, baseline_s=9)
    concordance = agree(first, second)
    assert concordance.pairs == () and "baseline_s" in concordance.obstacles[0]
    assert concordance.outcome[1] == 12
    allowed = agree(first, second, allow=["scenario"])
    assert allowed.outcome[1] == 0 and any("baseline_s" in text for text in allowed.unlike)
    with pytest.raises(InputError, match="given twice"):
        agree(first, first)


def test_machines_that_agree_are_seldom_said_to_disagree() -> None:
    """Of 2000 pairs of machines with one truth, one in twenty is."""
    dice = np.random.default_rng(1)
    downtime = next(metric for metric in METRICS if metric.name == "downtime")
    wrong = 0
    for _pair_of_machines in range(2000):
        one, other = (
            (arm([dice.normal(100, 8, 5) * scale]), arm([dice.normal(60, 8, 5) * scale])) for scale in (1, 2.5)
        )
        wrong += _pair("vcsp", downtime, one, other).agreement in ("differ", "contradict")
    assert 40 <= wrong <= 140


def test_the_command_line_takes_what_the_refusal_advises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["agree", str(write(tmp_path / "a", HALVED)), str(write(tmp_path / "b", HALVED, baseline_s=9))]
    assert main(arguments) == 12
    advised = capsys.readouterr().out.rpartition("add ")[2].split()
    assert main([*arguments, *advised]) == 0


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_command_line_says_what_it_found(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write(tmp_path / "a", HALVED)
    second = write(tmp_path / "b", {"post-copy": (98, 100, 102), "vcsp": (119, 120, 121)})
    assert main(["agree", str(first), str(second), "--format", form]) == 10
    output = capsys.readouterr().out
    if form == "json":
        document = json.loads(output)
        assert document["outcome"] == "the machines disagree"
        assert document["pairs"][0]["agreement"] == "contradict"
    else:
        assert "the machines disagree: 1 contradict" in output
        assert "+50.0" in output and "-20.0" in output
