# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One migration with or without a fault, a look at both hosts afterwards, and whether the module misled."""

from __future__ import annotations

import json
import random
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from . import bare
from .conftest import (
    ADDRESS,
    LAB_RUN,
    ROOT,
    Done,
    Seen,
    bpf_programs,
    end_guests,
    follow,
    heal,
    memory_verified,
    migration_arguments,
    module,
    on,
    other,
    playbook,
    qemu_processes,
    result,
    run_module,
    wait_until,
    write_scenario,
)
from .faults import PHASES, Fault, Step
from .ledger import Line

GUEST = "vcsp-guest"
QMP = """virsh qemu-monitor-command {} '{{"execute": "{}"}}'"""
SETTINGS = {"max_postcopy_bandwidth_mb_per_s": 10, "verify": True, "stall_timeout_s": 60, "timeout_s": 200}
# Nobody tells when a module whose connection was dropped has ended.
ENDS_BY_ITSELF_S = 240
SILENT = "does not answer"
# What the status of a half begins with.
HALF = ("postcopy", SILENT)
# A killed module's quota is lifted by then, without a further call; on a slow machine, too.
LIFTED_S = 30
# What a bare guest sends in less time than a watcher needs, it could not be hit in.
WINDOW_MB = {"debian": 8, "bare": 32}
DEMAND = {"transfer": "demand", "window_mb": WINDOW_MB["debian"]}
PUSH = {"transfer": "push", "postcopy_preempt": True}


@dataclass(frozen=True)
class Look:
    """What is found on both hosts; keys are the guest's way: "source", "destination".

    :ivar states: libvirt's state of the domain, or "waiting" for a migration; None where there is none.
    :ivar statuses: QEMU's status of the migration, or that it does not answer.
    :ivar throttled: a quota is in force, or noted in the domain's metadata.
    """

    states: dict[str, str | None]
    statuses: dict[str, str | None]
    throttled: bool
    programs: int
    processes: int
    settings: dict[str, Any]

    @property
    def place(self) -> str:
        """Where the guest is, whatever anybody says."""
        gone = None in self.states.values()
        # A half whose other half is gone runs until it needs a page that is nowhere.
        halves = {side for side, status in self.statuses.items() if gone and (status or "").startswith(HALF)}
        runs = {side for side, state in self.states.items() if state == "running"} - halves
        if len(runs) == 2:
            return "both"
        if runs:
            return "home" if "destination" in runs else "source"
        there = {side for side, state in self.states.items() if state not in (None, "waiting")}
        if len(there) == 2 and any((status or "").startswith("postcopy") for status in self.statuses.values()):
            return "split"
        whole = [
            side
            for side in there
            if not (self.statuses[side] or "").startswith(HALF)
            and (side, self.statuses[side]) != ("source", "completed")
        ]
        if len(whole) == 1:
            return "paused" if whole == ["destination"] else "paused on the source"
        return "lost"


def ask(host: str, *command: str, limit: str = "timeout 30") -> str:
    """What a host says; one that does not answer says so, and is no reason to end a run of many."""
    try:
        return on(host, limit, *command, check=False)
    except subprocess.TimeoutExpired:
        return SILENT


def has_quota(schedinfo: str) -> bool:
    return any(int(quota) > 0 for quota in re.findall(r"vcpu_quota\s*:\s*(-?\d+)", schedinfo))


def limited(host: str) -> bool:
    """Whether a vCPU quota is in force there."""
    return has_quota(ask(host, "virsh", "schedinfo", GUEST))


def answer(said: str) -> dict[str, Any]:
    """What QEMU returned; nothing if it said nothing of the kind."""
    try:
        return dict(json.loads(said).get("return") or {})
    except ValueError:
        return {}


def qmp(host: str, command: str) -> dict[str, Any]:
    return answer(ask(host, QMP.format(GUEST, command)))


# One answer after another, each followed by a line of its own; a host that has not answered once is asked no more.
QUESTIONS = {
    "domstate": f"virsh domstate {GUEST}",
    "dumpxml": f"virsh dumpxml {GUEST}",
    "schedinfo": f"virsh schedinfo {GUEST}",
    "query-status": QMP.format(GUEST, "query-status"),
    "query-migrate": QMP.format(GUEST, "query-migrate"),
    "query-migrate-parameters": QMP.format(GUEST, "query-migrate-parameters"),
}
MARK = "-- next --"
LOOK = f'silent=; ask() {{ [ $silent ] || timeout 30 "$@" 2>&1; [ $? != 124 ] || silent=1; echo; echo {MARK}; }}; '
LOOK += "; ".join(f"ask {question}" for question in QUESTIONS.values())


def inspect(host: str) -> dict[str, str]:
    """What a host says of the guest, on each question."""
    answers = ask(host, shlex.quote(LOOK), limit="timeout 100 sh -c").split(MARK)
    return {question: said.strip() for question, said in zip_longest(QUESTIONS, answers, fillvalue="")}


def look(to: str) -> Look:
    """A fresh look at both hosts after a migration to one of them."""
    states: dict[str, str | None] = {}
    statuses: dict[str, str | None] = {}
    throttled, settings = False, {}
    for side, host in {"source": other(to), "destination": to}.items():
        seen = inspect(host)
        state = seen["domstate"] or SILENT
        states[side] = None if "failed to get domain" in state or "not found" in state else state
        if answer(seen["query-status"]).get("status") == "inmigrate":
            states[side] = "waiting"
        # A half that is kept, or waits, is nobody's guest.
        if states[side] == "running":
            throttled |= "throttled" in seen["dumpxml"] or has_quota(seen["schedinfo"])
        if side == "source" and states[side] == "running":
            found = answer(seen["query-migrate-parameters"])
            settings = {name: found.get(name) for name in ("max-bandwidth", "max-postcopy-bandwidth")}
        # A QEMU whose main loop waits for memory says nothing.
        hangs = states[side] is not None and not seen["query-migrate"].startswith("{")
        statuses[side] = SILENT if hangs else answer(seen["query-migrate"]).get("status")
    return Look(states, statuses, throttled, len(bpf_programs()), qemu_processes(), settings)


def said(done: Done | None) -> tuple[str | None, dict[str, Any]]:
    """Where the module says that the guest is, and all that it returned; None if it was killed before it could."""
    try:
        returned = result(done) if done is not None else {}
    except ValueError:
        return None, {}
    text, phase = str(returned.get("msg", "")), returned.get("phase")
    if done is None or ("phase" not in returned and "validity" not in returned):
        return None, returned
    if done.returncode == 0:
        return "paused" if returned.get("run_state") == "paused" else "home", returned
    if "not running" in text:
        return "paused on the source" if "is on the source but not running" in text else "paused", returned
    places = {"completed": "home", "lost": "lost", "post-copy": "split", "post-copy paused": "split"}
    by_phase = places.get(str(phase), "split" if "recovering" in str(phase) else "source")
    runs = re.search(r"runs on the (source|destination)", text)
    by_text = by_phase if runs is None else {"source": "source", "destination": "home"}[runs[1]]
    return by_phase if by_text == by_phase else f"{by_text} by its message, {by_phase} by its phase", returned


def misled(place: str | None, found: str, returned: dict[str, Any]) -> bool:
    """Whether what the module said of the guest is not what was found; saying nothing must be for a reason given."""
    if place is None:
        return "It is unknown where the guest" not in str(returned.get("msg", ""))
    intact = returned.get("memory_verified")
    return place != found or (intact is not None and intact is (found == "corrupt"))


def blackout_ms(returned: dict[str, Any]) -> float | None:
    """The longest silence of the guest around the switch."""
    values = returned.get("instruments", {}).get("guest_stalls", {}).get("values") or {}
    gap: float | None = values.get("longest_gap_ms")
    return gap


def leftovers(after: Look, before: dict[str, Any]) -> list[str]:
    """What is left of a migration that is over."""
    here = sum(state is not None for state in after.states.values())
    found = [f"{after.programs} eBPF programs"] if after.programs else []
    if after.processes > here:
        found.append(f"{after.processes} QEMU processes for {here} domains")
    if after.place == "home" and here > 1:
        found.append("half a guest on the source")
    if "waiting" in after.states.values():
        found.append("a waiting destination")
    changed = {name: value for name, value in after.settings.items() if value != before.get(name)}
    return found + ([f"migration settings of the source: {changed}"] if after.place == "source" and changed else [])


def verifies(host: str) -> bool:
    """Whether the guest finds its memory as it must be; one that does not answer does not."""
    try:
        return memory_verified(host)
    except (AssertionError, ValueError, subprocess.TimeoutExpired):
        return False


def modules_run(host: str) -> bool:
    return on(host, "pgrep", "-x", "python3", check=False).strip() != ""


def claimed(host: str) -> bool:
    """Whether a call has claimed the guest that is on this host."""
    return "<vcsp:migration" in on(host, "virsh", "dumpxml", GUEST, check=False)


def attempt(fault: Fault | None, phase: str | None, to: str, seed: str, whole_bytes: int, **method: Any) -> Line:
    """Migrate the guest to a host, and say what was found."""
    dice = random.Random(seed)
    share = dice.uniform(0.1, 0.6)
    settings: dict[str, Any] = {**SETTINGS, **dice.choice([DEMAND, PUSH]), **method}
    steps: list[Step] = []
    reach = PHASES[phase] if phase else None
    if fault and reach and phase:
        settings |= reach.settings
        # The push is held, and both libvirts are in use, in post-copy alone.
        own = [step for step in fault.steps if step[0] not in ("rate", "clients") or phase == "post-copy"]
        reached = [(verb, round(share * whole_bytes) if verb == "arrived" else value) for verb, value in reach.before]
        steps = [*reached, *own, *reach.after]
    before = qmp(other(to), "query-migrate-parameters")
    started, hung, missed = time.monotonic(), False, ""
    done: Done | None = None
    seen: list[Seen] = []

    def call() -> Done:
        return run_module(to, "postcopy_migration", **migration_arguments(to, **settings))

    # Of a second call that ended during the first: whether it was refused.
    refused: list[bool] = []

    def migrate() -> Done:
        if fault is None or not fault.twice:
            return call()
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(call)
            wait_until(lambda: first.done() or claimed(other(to)), 120, "the first call to claim the guest")
            second = call()
            if not first.done():
                refused.append(second.returncode != 0 and "is being migrated by another call" in second.stdout)
            return first.result()

    try:
        if steps:
            done, seen = follow(migrate, *steps, to=to)
        else:
            done = migrate()
    except subprocess.TimeoutExpired:
        hung = True
    except AssertionError as error:  # the watcher did not see what it waited for
        missed = str(error)
    hit = False
    if fault and reach and seen:
        last, first = seen[len(reach.before) - 1], seen[len(reach.before)]
        hit = bool(reach.holds(last) and last.module and fault.hit(first) and (refused or not fault.twice))
    if fault is None or fault.silent or missed:
        deadline = time.monotonic() + ENDS_BY_ITSELF_S
        while modules_run(to) and time.monotonic() < deadline:
            time.sleep(0.2)
        hung |= modules_run(to)
    heal()
    deadline = time.monotonic() + LIFTED_S
    while fault and fault.ends and limited(to) and time.monotonic() < deadline:
        time.sleep(0.2)
    stays_limited = bool(fault and fault.ends and limited(to))
    place, returned = said(done)
    after = look(to)
    interrupted = after
    called_again = False
    heard = not ((fault and fault.silent) or missed or hung)
    halves = len([state for state in after.states.values() if state]) > 1
    if fault and fault.silent and (fault.ends or halves):
        called_again = True  # what a killed module leaves is completed, or put back, by the next call
        try:
            done = run_module(to, "postcopy_migration", **migration_arguments(to, **SETTINGS, **DEMAND))
            heard = True
        except subprocess.TimeoutExpired:
            done, hung = None, True
        place, returned = said(done)
        after = look(to)
    if after.place == "paused":
        on(to, "virsh", "resume", GUEST)  # its memory can be looked at, and it can go back
    verified = after.place not in ("home", "source", "paused") or verifies(other(to) if after.place == "source" else to)
    if hung:
        on(to, "pkill", "-KILL", "-x", "python3", check=False)
    found = after.place if verified else "corrupt"
    expected = fault.outcome[phase] if fault and phase else ("home",)
    if called_again:
        expected = ("home",)
    text = str(returned.get("msg", "")) or "; ".join(map(str, returned.get("validity", {}).get("reasons", [])))
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit(),
        "qemu": qemu_version(to),
        "seed": seed,
        "fault": fault.name if fault else None,
        "phase": phase,
        "to": to,
        "method": method,
        "hit": hit,
        "rc": None if done is None else done.returncode,
        "said": place,
        "found": found,
        "expected": list(expected),
        "called_again": called_again,
        "throttled": after.throttled or stays_limited,
        "hung": hung,
        "misreported": ((heard or place is not None) and misled(place, found, returned)) or refused == [False],
        "memory_verified": returned.get("memory_verified"),
        "leftovers": leftovers(after, before),
        "recoveries": returned.get("recoveries"),
        "blackout_ms": blackout_ms(returned),
        "sent_kb": returned.get("measurements", {}).get("sent_kb"),
        "seconds": round(time.monotonic() - started, 1),
        "reason": missed or text or (done.stdout[-2000:] if done is not None and place is None else ""),
        "look": asdict(after),
        "first_look": asdict(interrupted) if called_again else None,
    }


def commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=7"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip() or "unknown"


def qemu_version(host: str) -> str:
    return (re.findall(r"version (\d+\.\d+\.\d+)", on(host, "qemu-system-x86_64 --version", check=False)) or ["?"])[0]


def restore(system: str = "debian") -> None:
    """A new guest with its workload running, on the source.

    :param system: ``debian``, or ``bare`` under KVM.
    :raises bare.NoKvm: KVM does not run it.
    """
    end_guests()
    if system == "bare":
        bare.start(bare.domain_xml(bare.cpu_xml()), WINDOW_MB["bare"])
        return
    saved = on("source", "ls /var/lib/libvirt/vcsp/states/*/*/1/0008mb-sequential-w20.save").split()[0]
    state = str(Path(saved).parents[1])
    module("source", "saved_guest", name=GUEST, state="running", directory=state, workload={"window_mb": 8})


def whereabouts() -> str | None:
    """The host on which the guest runs now, alone; None if that cannot be said."""
    runs = [host for host in ADDRESS if "running" in on(host, "virsh", "domstate", GUEST, check=False)]
    return runs[0] if len(runs) == 1 else None


def is_prepared(system: str) -> bool:
    """Whether there is a saved Debian guest, or the bare guest's ROM."""
    if system == "bare":
        return bare.image() != ""
    return "save" in on("source", "ls /var/lib/libvirt/vcsp/states/*/*", check=False)


@contextmanager
def lab(directory: Path, system: str = "debian") -> Iterator[None]:
    """The lab with what the guest needs; one that was made for this is torn down afterwards."""
    ran_before = LAB_RUN.exists()
    try:
        if not (ran_before and is_prepared(system)):
            directory.mkdir(parents=True, exist_ok=True)
            scenario = write_scenario(directory, methods=["post-copy"], guest={"system": system})
            # No trial: only what it would start from. One that missed its rate would end the run before it began.
            books = [f"playbooks/{name}.yml" for name in ("lab", "provision", "guest")]
            done = playbook(*books, "-e", f"scenario={scenario}", timeout_s=1200)
            assert done.returncode == 0, done.stdout
        yield
    finally:
        if ran_before:
            end_guests()
        else:
            playbook("playbooks/teardown.yml")
