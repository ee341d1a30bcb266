# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From experiments on disk to verdicts: what makes a night red, what keeps it quiet, and what nobody can undo."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nightly_factory as factory
import pytest
from nightly_factory import CELL

from ansible_collections.vcsp.testbed.analysis.command_line import main
from ansible_collections.vcsp.testbed.analysis.nightly import store
from ansible_collections.vcsp.testbed.analysis.nightly.nights import read_night
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment import lock

SLOWER = {"total_migration_time_s": 1.3}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Seven unchanged nights, the first of January to the seventh, with their verdicts."""
    for number in range(1, 8):
        assert verdict(factory.night(tmp_path, number)) == "learning"
    return tmp_path


def verdict(directory: Path) -> str:
    return store.settle(directory.parent, store.read_finished(directory)).outcome


def test_the_first_night_that_can_be_judged_is_the_eighth(root: Path) -> None:
    assert verdict(factory.night(root, 8)) == "ok"


def test_a_slower_night_is_red_in_its_cell_only_and_says_since_when(root: Path) -> None:
    for number in (8, 9):
        assert verdict(factory.night(root, number, SLOWER, kernel="6.13.0")) == "regression"
    result = store.result_of(root, "2026-01-09-night")
    assert result.since == {(CELL, "total_migration_time"): "2026-01-08-night"}
    [reason] = result.verdict.reasons
    assert reason.startswith(f"{CELL}: total migration time 2.6")
    assert result.verdict.stack == {"kernel": ("6.12.0", "6.13.0")}


def test_a_regression_enters_no_baseline_and_is_seen_again(root: Path) -> None:
    assert [verdict(factory.night(root, number, SLOWER)) for number in range(8, 18)] == ["regression"] * 10


def test_an_accepted_level_never_alarms_twice_and_the_old_one_comes_back_unseen_by_nobody(root: Path) -> None:
    assert verdict(factory.night(root, 8, SLOWER)) == "regression"
    assert store.decide(root, "accept", "2026-01-08-night", "a new QEMU, slower on purpose")
    assert not store.decide(root, "accept", "2026-01-08-night", "again")
    assert [verdict(factory.night(root, number, SLOWER)) for number in range(9, 20)] == ["ok"] * 11
    worse = {"total_migration_time_s": 1.3 * 1.3}
    assert verdict(factory.night(root, 20, worse)) == "regression"


def test_a_better_night_is_ok_but_no_baseline_until_it_is_accepted(root: Path) -> None:
    faster = {"total_migration_time_s": 0.7}
    assert verdict(factory.night(root, 8, faster)) == "ok"
    assert verdict(factory.night(root, 9)) == "ok"
    store.decide(root, "accept", "2026-01-08-night", "")
    assert verdict(factory.night(root, 10)) == "regression"
    assert verdict(factory.night(root, 11, faster)) == "ok"


def test_a_rejected_night_is_no_baseline(root: Path) -> None:
    store.decide(root, "reject", "2026-01-03-night", "somebody compiled a kernel beside it")
    assert verdict(factory.night(root, 8)) == "learning"
    assert "2026-01-03-night" not in store.result_of(root, "2026-01-08-night").verdict.baseline


def test_a_quarantine_is_quiet_until_its_day_and_not_longer(root: Path) -> None:
    assert verdict(factory.night(root, 8, SLOWER)) == "regression"
    day = "2026-01-10"
    arguments = ["nightly", "quarantine", CELL, "--until", day, "--reason", "issue 7", "--results", str(root)]
    assert main(arguments) == main(arguments) == 0
    assert len(store.read_state(root).decisions) == 1
    assert [verdict(factory.night(root, number, SLOWER)) for number in (9, 10, 11)] == ["ok", "ok", "regression"]
    # Its level was not taken for that of the cell meanwhile.
    assert "2026-01-10-night" not in store.result_of(root, "2026-01-11-night").verdict.baseline
    assert main([*arguments[:2], "no-such-cell", *arguments[3:]]) == 2


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({0: factory.CORRUPT}, "memory check failed"),
        ({3: None}, "not measured: repeat 2 of"),
        ({0: factory.INVALID, 2: factory.INVALID, 4: factory.INVALID}, "only 1 of 4 trials are valid"),
    ],
)
def test_what_was_not_measured_well_is_red_also_while_learning(
    root: Path, spoil: Any, said: str, tmp_path: Path
) -> None:
    assert verdict(factory.night(root, 8, spoil=spoil)) == "failed"
    assert any(said in reason for reason in store.result_of(root, "2026-01-08-night").verdict.reasons)
    fresh = tmp_path / "fresh"
    assert verdict(factory.night(fresh, 1, spoil=spoil)) == "failed"


def test_a_trial_that_is_run_again_does_not_erase_the_failed_one(root: Path) -> None:
    assert verdict(factory.night(root, 8, spoil={0: factory.CORRUPT})) == "failed"
    assert verdict(factory.night(root, 8)) == "failed"


def test_one_invalid_trial_is_a_note(root: Path) -> None:
    assert verdict(factory.night(root, 8, spoil={0: factory.INVALID})) == "ok"
    assert any("invalid: r01" in note for note in store.result_of(root, "2026-01-08-night").verdict.notes)


def test_a_metric_that_is_gone_is_a_failure(root: Path) -> None:
    directory = factory.night(root, 8)
    for path in (directory / "trials").glob(f"*{CELL}/record.json"):
        record = json.loads(path.read_text())
        record["measurements"]["sent_kb"] = None
        path.write_text(json.dumps(record))
    assert verdict(directory) == "failed"


def test_nights_on_other_hosts_learn_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = factory.host()
    monkeypatch.setattr(factory, "host", lambda kernel="": {**usual, "cpu": {"model": "other", "count": 2}})
    assert verdict(factory.night(root, 8)) == "learning"
    assert "7 others were" in store.result_of(root, "2026-01-08-night").verdict.reasons[0]


def test_nights_that_see_nothing_are_insensitive_and_the_third_in_a_row_is_failed(tmp_path: Path) -> None:
    for number in range(1, 8):
        verdict(factory.night(tmp_path, number, scatter=1.5))
    found = [verdict(factory.night(tmp_path, number, scatter=1.5)) for number in range(8, 12)]
    assert found == ["insensitive", "insensitive", "failed", "failed"]
    assert "more repeats would help" in store.result_of(tmp_path, "2026-01-08-night").verdict.reasons[0]
    # Once the hosts are quiet, quiet nights take the place of the others.
    found = [verdict(factory.night(tmp_path, number)) for number in range(12, 20)]
    assert found[-1] == "ok"


def test_a_verdict_that_is_computed_again_is_the_same(root: Path) -> None:
    directory = factory.night(root, 8, SLOWER)
    verdict(directory)
    before = store.result_of(root, directory.name)
    state = (root / store.STATE_FILE).read_bytes()
    for number in (9, 10):
        verdict(factory.night(root, number))
    store.decide(root, "accept", directory.name, "")
    store.decide(root, "reject", "2026-01-02-night", "")
    assert store.result_of(root, directory.name) == before
    assert verdict(directory) == "regression"
    assert len(store.read_state(root).entries) == 10
    assert state != (root / store.STATE_FILE).read_bytes()


def test_a_host_that_was_rebooted_is_said_to_be(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = factory.host()
    monkeypatch.setattr(factory, "host", lambda kernel="": {**usual, "boot_id": "first"})
    for number in (8, 9):
        assert verdict(factory.night(root, number)) == "ok"
    monkeypatch.setattr(factory, "host", lambda kernel="": {**usual, "boot_id": "second"})
    assert verdict(factory.night(root, 10)) == "ok"
    assert store.result_of(root, "2026-01-10-night").verdict.stack == {"boot": ("first", "second")}
    assert verdict(factory.night(root, 11, SLOWER)) == "regression"
    assert store.result_of(root, "2026-01-11-night").verdict.stack == {}


def test_nights_of_an_older_record_format_are_held_against(tmp_path: Path) -> None:
    for number in range(1, 8):
        assert verdict(factory.aged(factory.night(tmp_path, number))) == "learning"
    assert verdict(factory.night(tmp_path, 8)) == "ok"
    assert len(store.result_of(tmp_path, "2026-01-08-night").verdict.baseline) == 7
    assert verdict(factory.night(tmp_path, 9, SLOWER)) == "regression"


def test_a_setting_that_is_newer_than_the_nights_had_its_default(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older = factory.factory.method
    monkeypatch.setattr(factory.factory, "method", lambda name: {**older(name), "tls": False})
    assert verdict(factory.night(root, 8)) == "ok"
    assert len(store.result_of(root, "2026-01-08-night").verdict.baseline) == 7
    monkeypatch.setattr(factory.factory, "method", lambda name: {**older(name), "tls": True})
    assert verdict(factory.night(root, 9)) == "learning"


def test_nights_from_before_idle_memory_had_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = factory.factory.experiment

    def experiment(idle_mb: int | None) -> Callable[..., dict[str, Any]]:
        def made(*given: Any) -> dict[str, Any]:
            of = newer(*given)
            of["scenario"]["guest"]["idle_mb"] = idle_mb
            if idle_mb is None:
                del of["scenario"]["guest"]["idle_mb"]
            return of

        return made

    monkeypatch.setattr(factory.factory, "experiment", experiment(None))
    for number in range(1, 8):
        assert verdict(factory.night(tmp_path, number)) == "learning"
    monkeypatch.setattr(factory.factory, "experiment", experiment(0))
    assert verdict(factory.night(tmp_path, 8)) == "ok"
    monkeypatch.setattr(factory.factory, "experiment", experiment(64))
    assert verdict(factory.night(tmp_path, 9)) == "learning"


def test_the_kind_that_kept_nights_state_stays_the_same(root: Path) -> None:
    assert read_night(root / "2026-01-07-night").kind == "639667ec3ad8ec4c"


def test_a_clock_that_was_set_back_changes_no_order(root: Path) -> None:
    assert verdict(factory.night(root, 20, SLOWER)) == "regression"
    assert verdict(factory.night(root, 8)) == "ok"
    assert store.result_of(root, "2026-01-08-night").verdict.baseline == tuple(
        f"2026-01-0{number}-night" for number in range(1, 8)
    )


def test_many_at_once_lose_nothing(root: Path) -> None:
    directories = [factory.night(root, number) for number in range(8, 14)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(verdict, directories))
        list(pool.map(lambda path: store.decide(root, "reject", path.name, ""), [*directories, *directories]))
    state = store.read_state(root)
    assert sorted(entry.sequence for entry in state.entries) == list(range(1, 14))
    assert len(state.decisions) == 6


def test_a_night_that_is_still_running_has_no_verdict(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = factory.night(root, 8)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        lock.acquire(directory / ".lock", "run the experiment", "/src", other.pid)
        assert main(["nightly", "verdict", str(directory)]) == 2
        assert other.stdin is not None
        other.stdin.close()
    assert "not over" in capsys.readouterr().err
    assert main(["nightly", "verdict", str(directory)]) == 0


@pytest.mark.parametrize(
    ("factors", "spoil", "fail_on", "status"),
    [
        (None, None, [], 0),
        (SLOWER, None, [], 10),
        (SLOWER, None, ["--fail-on", "none"], 0),
        (SLOWER, None, ["--fail-on", "failed"], 0),
        (None, {0: factory.CORRUPT}, [], 13),
        (None, None, ["--fail-on", "learning", "--baseline-nights", "9"], 12),
    ],
)
def test_exit_statuses(root: Path, factors: Any, spoil: Any, fail_on: list[str], status: int) -> None:
    directory = factory.night(root, 8, factors, spoil=spoil)
    assert main(["nightly", "verdict", str(directory), *fail_on]) == status


def test_formats(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = factory.night(root, 8, SLOWER, kernel="6.13.0")
    said = {}
    for name in ("text", "markdown", "json", "junit"):
        capsys.readouterr()
        assert main(["nightly", "verdict", str(directory), "--format", name]) == 10
        said[name] = capsys.readouterr().out
    assert f"{CELL}: total migration time" in said["text"]
    assert "**2026-01-08-night: regression**" in said["markdown"]
    assert "changed: kernel: 6.12.0 → 6.13.0" in said["markdown"]
    assert len(said["markdown"]) <= 1500
    found = json.loads(said["json"])
    assert [each["since"] for each in found["findings"] if each["red"]] == ["2026-01-08-night"]
    suite = ET.fromstring(said["junit"])
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("9", "1", "0")


def test_retention_keeps_what_anybody_needs(root: Path) -> None:
    assert verdict(factory.night(root, 8, SLOWER)) == "regression"
    for number in range(9, 25):
        assert verdict(factory.night(root, number)) == "ok"
    before = store.result_of(root, "2026-01-24-night")
    assert main(["nightly", "prune", "--keep", "2", "--results", str(root)]) == 0
    left = {path.name for path in root.iterdir() if path.name.endswith("-night")}
    # The last two, what they were held against, and the red one.
    assert left == {f"2026-01-{number:02d}-night" for number in (8, *range(16, 25))}
    assert store.prune(root, 2) == []
    assert store.result_of(root, "2026-01-24-night") == before
    assert store.result_of(root, "2026-01-09-night").verdict.outcome == "ok"


def test_a_damaged_state_is_refused_and_left_as_it_is(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = root / store.STATE_FILE
    path.write_text(path.read_text()[:100])
    assert main(["nightly", "verdict", str(factory.night(root, 8))]) == 2
    assert "is damaged" in capsys.readouterr().err
    assert len(path.read_text()) == 100


def test_plan_of_nights_and_of_one(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(root), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["nights"] == 7
    assert {need["repeats"] for need in found["needs"]} <= {2, 3, 4}
    assert main(["plan", str(root / "2026-01-01-night")]) == 0
    assert "plan again with several" in capsys.readouterr().out
    assert main(["plan", str(root / "nights")]) == 2


def test_plan_looks_at_accepted_nights_only_also_after_retention(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict(factory.night(root, 8, SLOWER))
    verdict(factory.night(root, 9, spoil={0: factory.CORRUPT}))
    for number in range(1, 8):
        shutil.rmtree(root / f"2026-01-{number:02d}-night")
    assert main(["plan", str(root), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["nights"] == 7
    assert max(need["between"] for need in found["needs"]) < 1
