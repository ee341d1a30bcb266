# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How the fault suite and the soak count, resume and judge."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.tests.integration import ledger, soak
from ansible_collections.vcsp.testbed.tests.integration.attempt import Look, misled, said
from ansible_collections.vcsp.testbed.tests.integration.conftest import Seen
from ansible_collections.vcsp.testbed.tests.integration.faults import FAULTS, PHASES

CELLS = [("cut", "baseline"), ("cut", "post-copy")]


def line(**changes: Any) -> ledger.Line:
    return {
        "at": "2026-01-02T03:04:05Z", "commit": "abc1234", "qemu": "10.0.0", "fault": "cut", "phase": "post-copy",
        "hit": True, "rc": 0, "found": "home", "expected": ["home"], "throttled": False, "hung": False,
        "misreported": False, "leftovers": [], "recoveries": 0, "blackout_ms": None, **changes,
    }  # fmt: skip


def test_what_was_recorded_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "results" / "faults.jsonl"
    assert ledger.read(path) == []
    for hit in (True, False):
        ledger.append(path, line(hit=hit))
    assert [one["hit"] for one in ledger.read(path)] == [True, False]


def test_a_line_that_was_written_half_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "faults.jsonl"
    ledger.append(path, line())
    path.write_text(path.read_text() + '{"fault": "c')
    ledger.append(path, line(hit=False))
    assert [one["hit"] for one in ledger.read(path)] == [True, False]


def test_a_run_goes_on_where_the_last_one_ended() -> None:
    assert ledger.pending(CELLS, [], 2) == CELLS * 2
    assert ledger.pending(CELLS, [line()], 2) == [CELLS[0], *CELLS]
    assert ledger.pending(CELLS, [line(), line(), line()], 2) == [CELLS[0]] * 2
    assert ledger.pending(CELLS, [line(phase=phase) for _fault, phase in CELLS], 1) == []


def test_a_fault_that_missed_is_repeated() -> None:
    assert CELLS[1] in ledger.pending(CELLS, [line(hit=False)], 1)


@pytest.mark.parametrize(
    ("changes", "bad"),
    [
        ({}, False),
        ({"found": "lost"}, True),
        ({"found": "lost", "expected": ["lost"]}, False),
        ({"found": "home", "expected": ["lost"]}, True),
        ({"found": "source", "expected": ["home", "source"]}, False),
        ({"found": "both"}, True),
        ({"throttled": True}, True),
        ({"hung": True}, True),
        ({"misreported": True}, True),
        ({"leftovers": ["1 eBPF programs"]}, True),
        ({"hit": False, "found": "lost"}, True),
        ({"rc": 2}, False),
        ({"rc": 2, "fault": None, "phase": None, "hit": False}, True),
    ],
)
def test_what_is_bad(changes: dict[str, Any], bad: bool) -> None:
    assert ledger.is_bad(line(**changes)) is bad


def test_the_table_counts_hits_alone() -> None:
    lines = [line(), line(found="lost"), line(hit=False), line(phase="baseline", misreported=True)]
    page = ledger.fault_page(lines, CELLS, dict.fromkeys(CELLS, "home"))
    assert "| `cut` | post-copy | home | 2 | 1 | 0 | 0 | 1 | 0 | 0 | 0 | 0 | 0 |" in page
    assert "| `cut` | baseline | home | 1 | 1 | 0 | 0 | 0 | 0 | 0 | 0 | 1 | 0 |" in page
    assert "1 attempts missed" in page
    assert "QEMU 10.0.0, commits `abc1234`" in page


def test_the_soak_counts_faults_by_kind() -> None:
    lines = [line(fault=None, phase=None, hit=False, blackout_ms=12.4), line(), line(found="both", recoveries=2)]
    page = ledger.soak_page(lines)
    assert "| none | 1 | 1 |" in page
    assert "| cut in post-copy | 2 | 1 | 0 | 0 | 0 | 1 |" in page
    assert "Running on both hosts: 1. Recovered: 2 times. Longest blackout: 12 ms." in page


def test_a_soak_that_was_not_measured_says_so() -> None:
    assert "Longest blackout: not measured" in ledger.soak_page([line()])


def test_every_fault_says_where_the_guest_must_be() -> None:
    for fault in FAULTS.values():
        assert fault.outcome and set(fault.outcome) <= set(PHASES), fault.name
        assert {place for places in fault.outcome.values() for place in places} <= {"home", "source", "paused", "lost"}


@pytest.mark.parametrize(
    ("place", "found", "returned", "wrong"),
    [
        ("home", "home", {"memory_verified": True}, False),
        ("home", "source", {}, True),
        ("home", "corrupt", {"memory_verified": True}, True),
        ("home", "home", {"memory_verified": False}, True),
        ("paused", "paused", {"memory_verified": None}, False),
        ("lost", "lost", {}, False),
        (None, "home", {}, True),
        (None, "split", {"msg": "It is unknown where the guest vcsp-guest is"}, False),
    ],
)
def test_what_misleads(place: str | None, found: str, returned: dict[str, Any], wrong: bool) -> None:
    assert misled(place, found, returned) is wrong


def seen(output: str) -> Seen:
    return Seen(["run", ""], output, 0, "none", "none", 0, 0, watched=True, module=True)


def test_a_fault_has_hit_only_where_each_of_its_hosts_says_so() -> None:
    assert FAULTS["libvirtd-source"].hit(seen("hit\n"))
    assert not FAULTS["libvirtd-both"].hit(seen("hit\n"))
    assert FAULTS["libvirtd-both"].hit(seen("hit\nhit\n"))
    assert not FAULTS["loss"].hit(seen("sh: 1: nft: not found\n"))
    assert not FAULTS["KILL"].hit(seen("hit\n")), "the module still runs"


def test_every_fault_says_when_it_has_hit() -> None:
    for fault in FAULTS.values():
        verb, command = fault.steps[0]
        assert verb == "run" and command.count("echo hit") == fault.hosts, fault.name


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "ssh"])  # which looks for processes by itself
def test_the_command_of_a_fault_reaches_each_of_its_hosts(tmp_path: Path, name: str) -> None:
    programs = dict.fromkeys(("ip", "tc", "nft", "pkill", "virsh", "sleep"), "exit 0")
    programs |= {"ssh": '[ "$1" = root@elsewhere ] && exec /bin/sh -c "$2"', "pgrep": "exit 1"}
    for program, text in programs.items():
        (tmp_path / program).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / program).chmod(0o755)
    command = ["/bin/sh", "-c", FAULTS[name].steps[0][1]]
    # Nothing but these programs is found, so that nothing else can happen.
    environment = {"PATH": str(tmp_path), "SOURCE": "elsewhere"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.stdout == "hit\n" * FAULTS[name].hosts


def test_the_soak_draws_no_fault_that_destroys_memory() -> None:
    drawn = {(fault.name, phase) for fault, phase in soak.CELLS}
    assert ("QEMU-destination", "baseline") in drawn
    assert not drawn & {("QEMU-destination", "post-copy"), ("QEMU-source", "baseline")}


def test_a_summary_needs_no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.append(tmp_path / "soak.jsonl", line())
    ledger.append(tmp_path / "bad.jsonl", line(found="lost"))
    for name, status in (("soak", 0), ("bad", 1)):
        page = tmp_path / f"{name}.md"
        command = ["soak", "--summary", "--out", str(tmp_path / f"{name}.jsonl"), "--page", str(page)]
        monkeypatch.setattr("sys.argv", command)
        assert soak.main() == status
        assert page.read_text().startswith("# Soak")


@pytest.mark.parametrize(
    ("states", "statuses", "place"),
    [
        (("running", "waiting"), ("none", "none"), "source"),
        ((None, "running"), (None, "completed"), "home"),
        (("running", "running"), ("none", "completed"), "both"),
        (("paused", "paused"), ("postcopy-active", "postcopy-active"), "split"),
        (("paused", None), ("postcopy-active", None), "lost"),
        (("paused", None), ("completed", None), "lost"),
        ((None, "waiting"), (None, "none"), "lost"),
        ((None, None), (None, None), "lost"),
        ((None, "running"), (None, "postcopy-paused"), "lost"),
        ((None, "running"), (None, "does not answer"), "lost"),
        ((None, "paused"), (None, "completed"), "paused"),
        (("paused", None), ("none", None), "paused on the source"),
    ],
)
def test_where_the_guest_is(states: tuple[str, str], statuses: tuple[str, str], place: str) -> None:
    sides = ("source", "destination")
    found = Look(dict(zip(sides, states, strict=True)), dict(zip(sides, statuses, strict=True)), False, 0, 0, {})
    assert found.place == place


@pytest.mark.parametrize(
    ("status", "returned", "place"),
    [
        (0, {"validity": {"valid": True}}, "home"),
        (0, {"validity": {"valid": False}, "run_state": "paused"}, "paused"),
        (1, {"phase": "preparing", "msg": "is on the source but not running (paused)"}, "paused on the source"),
        (1, {"phase": "completed", "msg": "SIGTERM: The guest runs on the destination"}, "home"),
        (1, {"phase": "completed", "msg": "is on the destination but not running (paused)"}, "paused"),
        (1, {"phase": "preparing", "msg": "runs on the source"}, "source"),
        (1, {"phase": "preparing", "msg": "runs on the destination"}, "home by its message, source by its phase"),
        (1, {"phase": "lost", "msg": "memory is lost"}, "lost"),
        (1, {"phase": "post-copy recovering", "msg": "is split"}, "split"),
        (1, {"msg": "It is unknown where the guest is"}, None),
    ],
)
def test_what_the_module_said(status: int, returned: dict[str, Any], place: str | None) -> None:
    done = subprocess.CompletedProcess[str]([], status, f"destination | FAILED! => {json.dumps(returned)}")
    assert said(done)[0] == place
