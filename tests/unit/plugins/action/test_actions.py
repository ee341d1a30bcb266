# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The actions, filters and the lookup as playbooks meet them."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment import lock
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.gate import load
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.trials import trials

EXPERIMENT = {
    "name": "Begin",
    "vcsp.testbed.experiment": {
        "results_dir": "{{ directory }}/results",
        "experiment_id": "{{ experiment_id | default(omit) }}",
        "scenario": "{{ scenario | vcsp.testbed.scenario }}",
        "lock_path": "{{ directory }}/machine.lock",
        "provenance": {"source": {"kernel": "6"}},
    },
    "register": "experiment",
}
TELL = {
    "name": "Tell",
    "ansible.builtin.copy": {
        "content": "{{ experiment | to_json }}",
        "dest": "{{ directory }}/told.json",
        "mode": "0644",
    },
    "check_mode": False,
}


def record(**arguments: Any) -> dict[str, Any]:
    where = {"experiment_dir": "{{ experiment.experiment_dir }}", "experiment_id": "{{ experiment.experiment_id }}"}
    return {
        "name": "Record",
        "vcsp.testbed.record": {**where, "provenance": "{{ experiment.provenance }}", **arguments},
    }


def told(directory: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((directory / "told.json").read_text())
    return result


def test_trials_are_shared_out_over_pairs_that_are_alike(
    playbooks: Any, tmp_path: Path, scenario: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    def pairs(**of_right: Any) -> dict[str, Any]:
        hosts = {name: {"hostname": name, "kernel": "6.12.0", "boot_id": name} for name in ("left", "right")}
        hosts["right"] |= of_right
        return {name: {"source": host, "destination": host} for name, host in hosts.items()}

    def begin(**arguments: Any) -> dict[str, Any]:
        return {**EXPERIMENT, "vcsp.testbed.experiment": {**EXPERIMENT["vcsp.testbed.experiment"], **arguments}}

    variables = {"directory": str(tmp_path), "scenario": {**scenario, "repeats": 2}, "result": trial_result()}
    for arguments, says in (
        ({"pairs": pairs(kernel="6.13.1")}, "unlike in the kernel of the source: 6.12.0 (left), 6.13.1 (right)"),
        ({"pairs": pairs(boot_id="left"), "side_by_side": True}, "left and right share a machine"),
    ):
        run = playbooks.run([begin(**arguments)], **variables)
        assert run.returncode == 2
        assert says in " ".join(run.stdout.split())
    assert not (tmp_path / "results").exists()
    keep = record(trial="{{ experiment.pending[0] }}", result="{{ result }}")
    run = playbooks.run([begin(pairs=pairs()), TELL, keep], **variables)
    assert run.returncode == 0, run.stdout
    assert "give the scenario at least 4 repeats" in " ".join(run.stdout.split())
    told_of = told(tmp_path)
    shares = {trial["repeat"]: trial["pair"] for trial in told_of["pending"]}
    assert set(shares.values()) == {"left", "right"}
    directory, first = Path(told_of["experiment_dir"]), told_of["pending"][0]
    assert json.loads((directory / "experiment.json").read_text())["provenance"]["pairs"].keys() == {"left", "right"}
    written = json.loads((directory / "trials" / first["id"] / "record.json").read_text())
    assert written["trial"]["pair"] == written["provenance"]["source"]["hostname"] == first["pair"]
    # One pair is left.
    living = "left" if first["pair"] == "right" else "right"
    again = begin(pairs={living: pairs()[living]}, experiment_id=told_of["experiment_id"])
    run = playbooks.run([again, TELL], **variables)
    assert run.returncode == 0, run.stdout
    assert {trial["pair"] for trial in told(tmp_path)["pending"]} == {living}


def test_an_experiment_and_its_resume(
    playbooks: Any, tmp_path: Path, scenario: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    variables = {"directory": str(tmp_path), "scenario": scenario, "result": trial_result()}
    # What was fetched from the destination is under a name that readers of the results ignore.
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    (fetched / "requests.csv.gz").write_bytes(gzip.compress(b"time_s\n"))
    variables["result"]["stored_files"] = ["/there/requests.csv.gz"]
    keep = [
        record(trial="{{ experiment.pending[0] }}", result="{{ result }}", files_dir=str(fetched)),
        record(trial="{{ experiment.pending[1] }}", failure="it broke:\nin two lines"),
    ]
    run = playbooks.run([EXPERIMENT, TELL, *keep], **variables)
    assert run.returncode == 0, run.stdout
    first = told(tmp_path)
    assert first["changed"]
    assert not first["resumed"]
    assert first["pending"] == trials(load(scenario))
    assert first["experiment_id"].startswith("small-")
    assert (tmp_path / "results" / "latest").resolve() == Path(first["experiment_dir"])
    written = Path(first["experiment_dir"], "trials", first["pending"][0]["id"])
    assert {path.name for path in written.iterdir()} == {"record.json", "requests.csv"}
    assert (written / "requests.csv").read_text() == "time_s\n"
    assert not fetched.exists()
    experiment = json.loads((tmp_path / "results" / "latest" / "experiment.json").read_text())
    assert experiment["provenance"]["source"] == {"kernel": "6"}
    assert experiment["provenance"]["controller"]["ansible_core"]
    assert len(experiment["provenance"]["controller"]) == 7
    # What the user saw.
    assert f"Experiment {first['experiment_id']}: 2 trials" in run.stdout
    assert "[1/2] " in run.stdout
    assert "[2/2] " in run.stdout
    assert "ok         2.1 s" in run.stdout
    assert "FAILED         -" in run.stdout
    assert "      it broke:\n      in two lines\n" in run.stdout
    assert "1 valid, 1 failed" in run.stdout

    run = playbooks.run([EXPERIMENT, TELL], experiment_id=first["experiment_id"], **variables)
    assert run.returncode == 0, run.stdout
    again = told(tmp_path)
    assert not again["changed"]
    assert again["resumed"]
    assert again["done"] == [first["pending"][0]["id"]]
    assert again["pending"] == [first["pending"][1]]
    assert "2 trials, 1 of them done already" in run.stdout

    run = playbooks.run(
        [EXPERIMENT], experiment_id=first["experiment_id"], **{**variables, "scenario": {**scenario, "seed": 2}}
    )
    assert run.returncode == 2
    assert "other settings" in run.stdout


@pytest.mark.parametrize("become", [False, True])
@pytest.mark.parametrize("found", [True, False])
def test_what_a_trial_recorded_over_time_comes_from_the_host_or_the_trial_says_why_not(
    playbooks: Any,
    tmp_path: Path,
    scenario: dict[str, Any],
    trial_result: Callable[..., dict[str, Any]],
    become: bool,
    found: bool,
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    if found:
        (there / "requests.csv.gz").write_bytes(gzip.compress(b"time_s\n"))
    result = {**trial_result(), "stored_files": ["/elsewhere/requests.csv.gz"]}
    task = record(trial="{{ experiment.pending[0] }}", result="{{ result }}", files_dir=str(there))
    rises = {**task, "become": become, "become_method": "ansible.builtin.su"}
    run = playbooks.run([EXPERIMENT, TELL, rises], directory=str(tmp_path), scenario=scenario, result=result)
    written = Path(told(tmp_path)["experiment_dir"], "trials", told(tmp_path)["pending"][0]["id"])
    assert there.exists() != found, "it is removed once the record is written"
    assert written.exists() == found
    if found:
        assert run.returncode == 0, run.stdout
        assert (written / "requests.csv").read_text() == "time_s\n"
    else:
        assert "What the trial recorded over time was not fetched: " in run.stdout


def test_a_guest_that_began_off_its_rate_is_told(
    playbooks: Any, tmp_path: Path, scenario: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    baseline = 80.0
    reasons = ["the guest ran at 80.0 MB/s before the migration instead of 57.1", "the guest's memory check failed"]
    result = trial_result(measurements={"total_migration_time_s": 2.125, "baseline_mb_per_s": baseline})
    calibration = {"rate_mb_per_s": 1.0, "low_mb_per_s": 1.0, "high_mb_per_s": 1.0, "work_words": 9, "took_s": 1.0}

    def check(error: float | None, off: bool, *, missed: bool = False, valid: bool = True) -> list[dict[str, Any]]:
        found = None if error is None else {**calibration, "target_mb_per_s": baseline / (1 + error)}
        of = {**result, "validity": {"valid": valid, "reasons": reasons[:1] if missed else [] if valid else reasons}}
        done = record(trial="{{ experiment.pending[0] }}", result=of, calibration=found)
        told_of = [f"done.off_rate is {str(off).lower()}", f"done.missed_rate is {str(missed).lower()}"]
        that = {"name": "Check", "ansible.builtin.assert": {"that": told_of}}
        return [{**done, "register": "done"}, that]

    checks = [
        *check(None, off=False),
        *check(0.08, off=False),
        *check(0.12, off=True),
        *check(-0.12, off=True),
        *check(0.4, off=True, missed=True, valid=False),
        # Invalid for another reason, too, which another attempt would hide.
        *check(0.4, off=True, valid=False),
    ]
    run = playbooks.run([EXPERIMENT, *checks], directory=str(tmp_path), scenario=scenario, result=result)
    assert run.returncode == 0, run.stdout


def test_the_record_of_a_trial_that_was_run_again_says_why(
    playbooks: Any, tmp_path: Path, scenario: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    missed = "the guest ran at 39.3 MB/s before the migration instead of 30.0"
    result = {**trial_result(), "cautions": ["one of its own"]}
    done = record(trial="{{ experiment.pending[0] }}", result=result, missed=[missed])
    run = playbooks.run([EXPERIMENT, TELL, done], directory=str(tmp_path), scenario=scenario)
    assert run.returncode == 0, run.stdout
    written = Path(told(tmp_path)["experiment_dir"], "trials", told(tmp_path)["pending"][0]["id"], "record.json")
    assert json.loads(written.read_text())["cautions"] == ["one of its own", f"run again: {missed}"]


def test_check_mode_changes_nothing_and_says_so(
    playbooks: Any, tmp_path: Path, scenario: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    report = {"vcsp.testbed.report": {"experiment_dir": "{{ experiment.experiment_dir }}"}}
    tasks = [EXPERIMENT, TELL, record(trial="{{ experiment.pending[0] }}", result="{{ result }}"), report]
    variables = {"directory": str(tmp_path), "scenario": scenario, "result": trial_result()}
    run = playbooks.run(tasks, "--check", "-v", **variables)
    assert run.returncode == 0, run.stdout
    assert told(tmp_path)["changed"]
    assert len(told(tmp_path)["pending"]) == 2
    assert "Experiment small-" not in playbooks.run([{**EXPERIMENT, "check_mode": True}], **variables).stdout
    assert "check mode: no record was written" in run.stdout
    assert "check mode: no report was written" in run.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"inventory", "playbook.yml", "told.json"}


def test_looking_changes_nothing_and_refuses_what_beginning_would(
    playbooks: Any, tmp_path: Path, scenario: dict[str, Any]
) -> None:
    arguments = {
        key: EXPERIMENT["vcsp.testbed.experiment"][key] for key in ("results_dir", "experiment_id", "lock_path")
    }
    look = {"vcsp.testbed.experiment_info": {**arguments, "scenario": "{{ scenario }}"}, "register": "experiment"}
    variables = {"directory": str(tmp_path), "scenario": scenario, "experiment_id": "mine"}
    assert playbooks.run([look, TELL], **variables).returncode == 0
    found = told(tmp_path)
    assert (found["changed"], found["resumed"], found["total"], len(found["pending"])) == (False, False, 2, 2)
    assert {path.name for path in tmp_path.iterdir()} == {"inventory", "playbook.yml", "told.json"}

    assert playbooks.run([EXPERIMENT, look, TELL], **variables).returncode == 0
    assert told(tmp_path)["resumed"]
    run = playbooks.run([look], **{**variables, "scenario": {**scenario, "seed": 2}})
    assert run.returncode == 2
    assert "other settings" in run.stdout

    (tmp_path / "results" / "latest").unlink()
    (tmp_path / "results" / "latest").mkdir()
    for task, options in ((look, ()), (EXPERIMENT, ("--check",)), (EXPERIMENT, ())):
        run = playbooks.run([task], *options, **variables)
        assert run.returncode == 2, (task, options)
        assert "is not a link to the newest experiment" in " ".join(run.stdout.split())


def test_check_mode_releases_only_its_own_locks(playbooks: Any, tmp_path: Path) -> None:
    machine = tmp_path / "machine.lock"
    where = {"results_dir": str(tmp_path), "experiment_id": "mine", "lock_path": str(machine)}
    free = {"vcsp.testbed.experiment": {"state": "absent", **where}, "register": "experiment"}
    with subprocess.Popen(["sleep", "60"]) as process:
        lock.acquire(machine, "experiment theirs", "/there", process.pid)
        for options in ((), ("--check",)):
            assert playbooks.run([free, TELL], *options, directory=str(tmp_path)).returncode == 0
            assert not told(tmp_path)["changed"], options
        process.kill()


def test_locks(playbooks: Any, tmp_path: Path, scenario: dict[str, Any]) -> None:
    machine = tmp_path / "machine.lock"
    other = {"vcsp.testbed.lock": {"purpose": "lab", "path": str(machine)}}
    look = {"ansible.builtin.slurp": {"src": str(machine)}, "register": "seen"}
    show = {"ansible.builtin.debug": {"msg": "{{ (seen.content | b64decode | from_json).purpose }}"}}
    free = {
        "vcsp.testbed.experiment": {
            "state": "absent",
            "results_dir": str(tmp_path / "results"),
            "experiment_id": "mine",
            "lock_path": str(machine),
        }
    }
    variables = {"directory": str(tmp_path), "scenario": scenario, "experiment_id": "mine"}
    # The same ansible-playbook may lock again; afterwards nothing is left.
    run = playbooks.run([other, EXPERIMENT, look, show, free], **variables)
    assert run.returncode == 0, run.stdout
    assert "experiment mine" in run.stdout
    assert not machine.exists()
    assert not (tmp_path / "results" / "mine" / ".lock").exists()
    # Without giving it back, the end of the process does.
    assert playbooks.run([EXPERIMENT], **variables).returncode == 0
    assert machine.exists()
    with subprocess.Popen(["sleep", "60"]) as process:
        lock.acquire(machine, "experiment theirs", "/there", process.pid)
        for tasks in ([EXPERIMENT], [other]):
            for options in ([], ["--check"]):
                run = playbooks.run(tasks, *options, **variables)
                assert run.returncode == 2
                assert f"process {process.pid} is at work here: experiment theirs" in run.stdout.replace(
                    "\n        ", " "
                )
        process.kill()
    assert playbooks.run([EXPERIMENT], **variables).returncode == 0


def test_bad_arguments(playbooks: Any, tmp_path: Path, scenario: dict[str, Any]) -> None:
    variables = {"directory": str(tmp_path), "scenario": scenario}
    (tmp_path / "results").touch()
    for wrong, message in (
        ({"experiment_id": "../x"}, 'experiment_id: is "../x"; use at most 100'),
        ({"experiment_id": "mine"}, "cannot be"),  # results is a file
    ):
        run = playbooks.run([EXPERIMENT], **variables, **wrong)
        assert run.returncode == 2
        assert message in " ".join(run.stdout.split())  # long paths break lines
        assert "Traceback" not in run.stdout
    run = playbooks.run([{"vcsp.testbed.experiment": {"results_dir": str(tmp_path)}}])
    assert "state is present but all of the following are missing: scenario" in run.stdout
    run = playbooks.run([{"vcsp.testbed.report": {"experiment_dir": str(tmp_path)}}])
    assert run.returncode == 2
    assert "No report could be made" in run.stdout


def test_report(
    playbooks: Any, tmp_path: Path, scenario: dict[str, Any], trial_result: Callable[..., dict[str, Any]]
) -> None:
    loop = {**record(trial="{{ item }}", result="{{ result }}"), "loop": "{{ experiment.pending }}"}
    loop["loop_control"] = {"label": "{{ item.id }}"}
    report = {"vcsp.testbed.report": {"experiment_dir": "{{ experiment.experiment_dir }}"}}
    variables = {"directory": str(tmp_path), "scenario": scenario, "result": trial_result()}
    run = playbooks.run([EXPERIMENT, loop, report], **variables)
    assert run.returncode == 0, run.stdout
    assert run.stdout.count(" ok ") == 2
    assert "Table 3" in run.stdout
    html = Path(run.stdout.partition("Report: ")[2].splitlines()[0])
    assert html.is_file()


def test_a_record_that_cannot_be_written(playbooks: Any, tmp_path: Path, scenario: dict[str, Any]) -> None:
    block = {
        "ansible.builtin.file": {"path": "{{ experiment.experiment_dir }}/trials", "state": "touch", "mode": "0644"}
    }
    variables = {"directory": str(tmp_path), "scenario": scenario}
    run = playbooks.run([EXPERIMENT, block, record(trial="{{ experiment.pending[0] }}", failure="x")], **variables)
    assert run.returncode == 2
    assert "The record of trial" in run.stdout
    assert "was not written" in run.stdout


def test_lookup_and_filters(playbooks: Any, tmp_path: Path) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "mine.yml").write_text("name: mine\nworkloads: [{window_mb: 8}]\nmethods: [vcsp]\n")
    checks = [
        "lookup('vcsp.testbed.scenario', 'mine').repeats == 3",
        "lookup('vcsp.testbed.scenario', 'scenarios/mine.yml') == lookup('vcsp.testbed.scenario', 'mine')",
        "lookup('vcsp.testbed.scenario', 'quick') | vcsp.testbed.trials | length == 36",
        "query('vcsp.testbed.scenario', 'mine', 'smoke') | map(attribute='name') == ['mine', 'smoke']",
        "(lookup('ansible.builtin.file', 'scenarios/mine.yml') | vcsp.testbed.scenario).name == 'mine'",
        "lookup('vcsp.testbed.scenario', 'mine') | vcsp.testbed.preflight({}, {}) | length > 0",
    ]
    run = playbooks.run([{"ansible.builtin.assert": {"that": checks}}])
    assert run.returncode == 0, run.stdout


def test_bad_scenario_in_a_playbook(playbooks: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text("name: bad\nworkloads: [{window_mb: 8, window_mb: 16}]\nmethods: [vcsp]\n")
    for expression, messages in (
        ("lookup('vcsp.testbed.scenario', 'quik')", ["quik: no such scenario; did you mean quick?"]),
        (
            "lookup('vcsp.testbed.scenario', './bad.yml')",
            ["bad.yml: line 2, column 28: the key 'window_mb' stands twice; keep one of them\n"],
        ),
        ("{'name': 'x'} | vcsp.testbed.scenario('mine')", ["mine: workloads: missing", "mine: methods: missing"]),
        ("'name: x' | vcsp.testbed.trials", ["scenario: workloads: missing"]),
        ("'name: x' | vcsp.testbed.preflight(1, 2)", ["source must be what vcsp.testbed.testbed_info returned"]),
    ):
        run = playbooks.run([{"ansible.builtin.debug": {"msg": "{{ " + expression + " }}"}}])
        assert run.returncode == 2
        for message in messages:
            assert message in run.stdout, run.stdout
        assert "Traceback" not in run.stdout


def test_of_all_plugins_only_the_report_needs_the_analysis() -> None:
    plugins = Path(__file__).resolve().parents[4] / "plugins"
    needing = [path for path in plugins.rglob("*.py") if re.search(r"\banalysis(\.\w+)* import", path.read_text())]
    assert needing == [plugins / "action" / "report.py"]
