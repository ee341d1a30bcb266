# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of the nights that verdicts are proved with needs no lab."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.vcsp.testbed.analysis.nightly import store
from ansible_collections.vcsp.testbed.analysis.nightly.metrics import METRICS
from ansible_collections.vcsp.testbed.analysis.nightly.nights import Night
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import Experiment, Record
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.gate import read
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.trials import trials

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks import nights  # noqa: E402

KINDS = {"unchanged": 2, "link": 1, "quota": 1}


def line(injected: str, number: int = 1) -> nights.Line:
    return nights.Line(f"n{number}", injected, 300.5, "", "learning", "2026-01-01T03:00:00Z", "k", {}, {}, ())


def test_a_bare_night_has_the_cells_of_the_nightly_scenario_and_five_minutes_of_trials() -> None:
    usual, bare = read(ROOT / "scenarios/nightly.yml"), read(nights.SCENARIO)
    assert bare["methods"] == usual["methods"]
    assert [load["pattern"] for load in bare["workloads"]] == [load["pattern"] for load in usual["workloads"]]
    assert bare["repeats"] >= 3  # fewer show no scatter worth the name
    # Measured: a boot, Ansible's tasks and the memory check take 5 s beside what the trial states.
    assert sum(trial["baseline_s"] + trial["observation_s"] + 5 for trial in trials(bare)) <= 300
    # Even with 1 ms more per fault, which is one that a night has to show, a trial without prefetching is measured.
    for trial in trials(bare):
        faults_s = 256 * trial["workload"]["window_mb"] * (1e-3 + 0.4e-3)
        bulk_s = 8.4 * trial["guest"]["idle_mb"] / trial["link"]["rate_mbit"]  # once the window has been walked
        assert faults_s + bulk_s + 0.5 < trial["observation_s"]


def test_nights_that_are_there_are_not_run_again() -> None:
    assert nights.pending([], KINDS) == ["unchanged", "unchanged", "link", "quota"]
    assert nights.pending([line("unchanged"), line("quota")], KINDS) == ["unchanged", "link"]
    assert nights.pending([line("quota"), line("quota")], {"link": 2, "quota": 2}) == ["link", "link"]
    assert nights.pending([line("unchanged")] * 3, {"unchanged": 2}) == []


def test_each_injection_has_a_playbook() -> None:
    for name in nights.INJECTIONS:
        [play] = yaml.safe_load((ROOT / f"benchmarks/slower/{name}.yml").read_text())
        assert play["ansible.builtin.import_playbook"] == "night.yml"
        assert play["vars"] == {"injected": name}


def test_an_injected_night_is_otherwise_the_experiment() -> None:
    def plays(path: str) -> list[str]:
        found = yaml.safe_load((ROOT / path).read_text())
        return [Path(play[key]).name for play in found if (key := "ansible.builtin.import_playbook") in play]

    assert plays("benchmarks/slower/night.yml") == plays("playbooks/experiment.yml")


def test_the_injected_program_differs_from_the_real_one() -> None:
    [text] = [
        task["ansible.builtin.copy"]["content"]
        for play in yaml.safe_load((ROOT / "benchmarks/slower/night.yml").read_text())
        for task in play.get("tasks", ())
        if "lengthens no request" in task["name"]
    ]
    replaced = text.split("'")[1]
    assert (ROOT / "roles/hypervisor/files/prefetch.bpf.c").read_text().count(replaced) == 1


def experiment(**trace: float) -> Experiment:
    method = {"name": "vcsp-prefetching", "vcpu_quota_percent": 50, "prefetch_pages": 10}
    data: Mapping[str, Any] = {
        "trial": {"method": method},
        "instruments": {"request_trace": {"present": True, "reason": None, "values": trace}},
    }
    scenario = {"link": {"rate_mbit": 1000, "delay_us": 100}}
    return Experiment(Path("x"), {"scenario": scenario}, (Record(Path("x"), data),), ())


def done(rate: float = 960, ping_us: float = 200, delay_us: int = 100, quotas: int = 0) -> dict[str, Any]:
    return {
        "link": {"delay_us": delay_us, "proof": {"bulk_mbit_per_s": rate, "ping_us": ping_us}},
        "quotas_left": quotas,
    }


@pytest.mark.parametrize(
    ("injected", "there", "absent"),
    [
        ("link", (experiment(), done(rate=770)), (experiment(), done())),
        ("fault", (experiment(), done(ping_us=1210, delay_us=600)), (experiment(), done(delay_us=600))),
        ("prefetching", (experiment(asked_kb=80, sent_kb=80), done()), (experiment(asked_kb=80, sent_kb=800), done())),
        ("quota", (experiment(), done(quotas=1)), (experiment(), done())),
    ],
)
def test_an_injection_is_seen_by_what_it_did(injected: str, there: Any, absent: Any) -> None:
    assert nights.evidence(injected, *there)
    assert nights.evidence(injected, *absent) is None


def test_tables_say_what_the_nights_measured(tmp_path: Path) -> None:
    names = [metric.name for metric in METRICS]
    values = {
        "0008mb-random-vcsp": {name: [1.0, 2.5] for name in names},
        "0008mb-random-stock": {**{name: [3.0] for name in names}, "downtime": []},
    }
    night = Night("n1", "2026-01-01T03:00:00Z", "k", {"downtime": 10.0}, values, {"kernel": "6.12"}, ("r01: lost",))
    (tmp_path / store.NIGHTS).mkdir()
    (tmp_path / store.NIGHTS / "n1.json").write_bytes(night.to_json())
    known = nights.Line(
        "n1", "link", 300.5, "hit", "failed", night.date, "k", night.wished, night.stack, night.failures
    )
    (tmp_path / nights.NIGHTS_FILE).write_text(json.dumps(asdict(known)) + "\n")
    nights.write_tables(tmp_path, tmp_path / "out")
    assert nights.read_tables(tmp_path / "out") == [("link", night)]
