# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lab's migration link: the commands of its queue, what it must show, and what becomes of one that does not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._lab.link import TRIMS, MigrationLink
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.network import Network
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.processes import start_time, wait_for
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.queue import FLOWS, buffer_bytes, commands
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.spec import Host, Spec
from ansible_collections.vcsp.testbed.plugins.module_utils._lab.step import LabError
from ansible_collections.vcsp.testbed.plugins.module_utils._link import Link, remarks, shortfalls

ROOT = Path(__file__).resolve().parents[4]
GOOD = {"ping_us": 203.0, "page_us": 238.0, "bulk_mbit_per_s": 964.0, "cost_cores": 0.15}


def test_a_page_takes_its_time_on_the_wire() -> None:
    assert Link().exchange_us(16) == pytest.approx(200 + 2 * 68 * 0.008)
    assert Link().exchange_us(4104) == pytest.approx(200 + 0.544 + (4104 + 3 * 52) * 0.008)
    assert Link(10, 40_000).exchange_us(4104) == pytest.approx(83_462.4)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"ping_us": 245.0}, ["an exchange takes 245 us instead of 201"]),
        ({"ping_us": 150.0}, ["an exchange takes 150 us instead of 201"]),
        ({"page_us": 290.0}, ["a page takes 290 us instead of 235"]),
        ({"bulk_mbit_per_s": 900.0}, ["a stream reaches 900 of 1000 Mbit/s"]),
        ({"cost_cores": 0.3}, []),
    ],
)
def test_a_link_that_is_not_what_was_asked_for(change: dict[str, float], expected: list[str]) -> None:
    assert shortfalls(Link(), {**GOOD, **change}) == expected


def test_a_fast_link_may_cost_a_processor() -> None:
    proof = {"ping_us": 42.0, "page_us": 48.0, "bulk_mbit_per_s": 9600.0, "cost_cores": 0.9}
    assert remarks(Link(10_000, 20), proof) == []
    assert remarks(Link(10_000, 20), {**proof, "cost_cores": 1.1}) == [
        "it takes 110 % of a processor, more than 100 %, which the guests lack"
    ]
    assert remarks(Link(), {**GOOD, "cost_cores": 0.3}) != []


@pytest.mark.parametrize(("rate_mbit", "expected"), [(10, 4500), (100, 4500), (1000, 16375), (10_000, 65536)])
def test_buffers_are_no_longer_on_the_wire_than_131_us_or_a_page(rate_mbit: int, expected: int) -> None:
    assert buffer_bytes(Link(rate_mbit)) == expected


def test_the_kernels_fair_queue_is_used_where_there_is_one() -> None:
    assert commands(Link(100), "mig0", has_fq_codel=True) == [
        "qdisc replace dev mig0 root handle 1: htb default 1",
        "class add dev mig0 parent 1: classid 1:1 htb rate 100mbit burst 2500 cburst 2500 quantum 4500",
        "qdisc add dev mig0 parent 1:1 handle 10: fq_codel",
    ]


def test_connections_take_turns_without_it() -> None:
    root, _rate, *flows, classifier = commands(Link(), "mig0", has_fq_codel=False)
    assert root.endswith("default 400")
    assert len(flows) == FLOWS
    assert flows[-1].startswith("class add dev mig0 parent 1:1 classid 1:7ff htb rate 976562bit ceil 1000mbit ")
    assert classifier.endswith("bpf bytecode '4,32 0 0 4294963232,84 0 0 1023,68 0 0 66560,22 0 0 0'")


def test_a_fifo_is_one_for_all() -> None:
    for has_fq_codel in (False, True):
        assert commands(Link(queue="fifo"), "mig0", has_fq_codel)[2:] == [
            "qdisc add dev mig0 parent 1:1 handle 10: pfifo limit 1000"
        ]


class Machine:
    """Commands of a machine on which a link can be made.

    :ivar has_devices: whether the wire has made its devices
    :ivar breaks_after: number of commands after which the next is interrupted
    :ivar proofs: what the probe finds, time after time; the last one for ever
    """

    def __init__(self) -> None:
        self.routes: dict[str, str] = {}
        self.queued: set[str] = set()
        self.addressed: set[str] = set()
        self.proofs = [GOOD]
        self.breaks_after = 1000
        self.has_devices = True

    def run(self, command: list[str]) -> tuple[int, str, str]:
        text = " ".join(command)
        if self.breaks_after == 0:
            raise KeyboardInterrupt
        self.breaks_after -= 1
        netns = command[command.index("-n") + 1] if "-n" in command else ""
        if "probe" in command[0]:
            return 0, json.dumps(self.proofs.pop(0) if len(self.proofs) > 1 else self.proofs[0]), ""
        if command[0] == "unshare":
            return 1, "", "Specified qdisc kind is unknown."
        if "route" in command:
            if "change" in command:
                self.routes[netns] = text
            return 0, self.routes.get(netns, ""), ""
        if "-batch" in command:
            self.queued.add(netns)
        if "qdisc" in command:
            return 0, json.dumps([{"kind": "htb"}] if netns in self.queued else []), ""
        if "address" in command and "add" in command:
            self.addressed.add(f" {command[command.index('add') + 1]} ")
        missing = "show" in command and not self.has_devices
        return missing, "" if missing else " ".join(["mig0", *self.addressed]), ""


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def link(tmp_path: Path, machine: Machine) -> Iterator[MigrationLink]:
    """A link of which nothing is there, and whose wire is a program that does nothing."""
    hosts = (Host("source", "198.18.0.11", "198.18.1.11"), Host("destination", "198.18.0.12", "198.18.1.12"))
    spec = Spec(
        name="vcsp", state_dir=tmp_path / "lib", run_dir=tmp_path / "run", hosts=hosts,
        controller_address="198.18.0.1", prefix_length=24, rate_mbit=1000, delay_us=100, queue="fair",
        congestion_control="cubic", cpu_percent=100, owner="/here",
    )  # fmt: skip
    spec.run_dir.mkdir()
    (spec.state_dir / "link").mkdir(parents=True)
    wire = spec.state_dir / "link" / "wire"
    wire.write_text("#!/bin/sh\ntrap : HUP\nwhile :; do sleep 1 & wait; done\n")
    wire.chmod(0o755)
    made = MigrationLink(spec, Network(machine.run, spec.prefix_length))
    yield made
    made._stop()


def other(link: MigrationLink, **settings: Any) -> MigrationLink:
    """The same lab, of which another link is asked for."""
    return MigrationLink(replace(link._spec, **settings), link._network)


def mend(link: MigrationLink) -> list[str]:
    done = []
    for step in link.steps():
        step.do()
        done.append(step.what)
    return done


WHOLE = [
    "migration link",
    "acknowledgements and congestion control of source",
    "acknowledgements and congestion control of destination",
    "fair queue of source",
    "fair queue of destination",
    "proof of the migration link",
]


def test_a_link_is_made_proved_and_left_alone(link: MigrationLink, machine: Machine) -> None:
    assert link.proof() is None
    assert [step.what for step in link.steps()] == WHOLE, "what check mode predicts"
    assert mend(link) == WHOLE
    assert mend(link) == []
    proof = link.proof()
    assert proof is not None
    assert {**proof, "proved_at": ""} == {**GOOD, "proved_at": ""}
    assert [step.changes for step in other(link, queue="fifo").steps()] == [True, True, False]


def test_what_the_hosts_cost_is_part_of_the_delay(link: MigrationLink, machine: Machine) -> None:
    machine.proofs = [{**GOOD, "ping_us": link._spec.link.exchange_us(16) + 30}, GOOD]
    mend(link)
    assert link._settings.read_text() == "1000000000 85000\n"


def test_a_change_is_made_in_place(link: MigrationLink, machine: Machine) -> None:
    mend(link)
    wire = link._wire()
    machine.proofs = [{**GOOD, "ping_us": 81_000.0, "page_us": 83_000.0, "bulk_mbit_per_s": 9.7}]
    changed = other(link, rate_mbit=10, delay_us=40_000, congestion_control="reno")
    assert mend(changed) == ["migration link of 10 Mbit/s and 40000 us", *WHOLE[1:]]
    assert mend(changed) == []
    assert link._wire() == wire
    assert link.proof() is None, "the other one's"


def test_a_wire_that_has_ended_is_replaced(link: MigrationLink) -> None:
    mend(link)
    pid = int(link._wire()[0])
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: start_time(pid) is None, timeout_s=20)
    assert mend(link) == WHOLE
    (link._spec.state_dir / "link" / "wire").write_text("#!/bin/sh\nsleep 60\n")
    assert mend(link) == WHOLE, "as after an update of the lab"


def test_a_wire_that_cannot_start_says_why(link: MigrationLink, machine: Machine) -> None:
    machine.has_devices = False
    (link._spec.state_dir / "link" / "wire").write_text("#!/bin/sh\necho no /dev/net/tun >&2; exit 1\n")
    with pytest.raises(LabError, match="cannot be made: no /dev/net/tun"):
        mend(link)


def test_a_link_that_was_asked_for_is_refused_if_it_is_another(link: MigrationLink, machine: Machine) -> None:
    machine.proofs = [{**GOOD, "bulk_mbit_per_s": 500.0}]
    fast = other(link, rate_mbit=2000)
    for _ in range(2):
        with pytest.raises(LabError, match=r"cannot be a link of 2000 Mbit/s and 100 us: a stream reaches 500 of 2000"):
            mend(fast)
    assert fast.proof() is None


def test_the_default_link_is_used_as_it_is_and_says_so(link: MigrationLink, machine: Machine) -> None:
    machine.proofs = [{**GOOD, "bulk_mbit_per_s": 500.0}]
    assert mend(link) == WHOLE
    assert link.remarks() == ["it is not the one that was asked for: a stream reaches 500 of 1000 Mbit/s"]
    assert mend(link) == ["proof of the migration link"], "the machine may have been busy with something else"
    machine.proofs = [GOOD]
    mend(link)
    assert link.remarks() == []


def test_a_link_that_costs_much_is_what_was_asked_for(link: MigrationLink, machine: Machine) -> None:
    machine.proofs = [{**GOOD, "cost_cores": 0.3}]
    fifo = other(link, queue="fifo")
    mend(fifo)
    assert fifo.remarks() == ["it takes 30 % of a processor, more than 20 %, which the guests lack"]
    assert mend(fifo) == []


def test_one_bad_attempt_of_three_does_not_count(link: MigrationLink, machine: Machine) -> None:
    machine.proofs = [GOOD] * TRIMS + [GOOD, {**GOOD, "ping_us": 5000.0}, GOOD]
    mend(link)
    assert link.remarks() == []


def test_a_link_whose_making_was_interrupted_is_completed(link: MigrationLink, machine: Machine) -> None:
    mend(link)
    for number in range(1000 - machine.breaks_after):
        for step in link.leftovers():
            step.do()
        machine.routes, machine.queued, machine.addressed, machine.breaks_after = {}, set(), set(), number
        with pytest.raises(KeyboardInterrupt):
            mend(link)
        machine.breaks_after = 1000
        mend(link)
        assert len(machine.routes) == len(machine.queued) == len(machine.addressed) == 2
        assert (mend(link), link.remarks()) == ([], []), f"interrupted after {number} commands"


def test_nothing_is_left(link: MigrationLink) -> None:
    mend(link)
    pid = int(link._wire()[0])
    assert [step.what for step in link.leftovers()] == ["migration link"]
    for step in link.leftovers():
        step.do()
    assert not list(link.leftovers())
    assert subprocess.run(["ps", "-p", str(pid), "-o", "stat="], capture_output=True, text=True).stdout.strip() in (
        "",
        "Z",
    )


@pytest.mark.parametrize("name", ["wire", "probe"])
def test_the_programs_compile_without_a_warning(name: str, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source = ROOT / "roles" / "local_lab" / "files" / f"{name}.c"
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", tmp_path / name, source], check=True)
    done = subprocess.run([tmp_path / name], capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()[0].split(": ")[1]) == (2, "usage")
