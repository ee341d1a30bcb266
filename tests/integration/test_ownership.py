# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One call owns a guest, and what a killed one changed on either host does not stay."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .conftest import follow, guests, memory_verified, on, result, wait_until
from .faults import LET_GO
from .test_faults import COMMON, DEMAND, KILL_MODULE, PUSH, Migrate, assert_hit, assert_migrated, assert_on_the_source

BASELINE = {**COMMON, **DEMAND, "max_postcopy_bandwidth_mb_per_s": 0, "baseline_s": 30}
TERM_MODULE = ("run", "pkill -TERM -x python3")
# Prints what holds the vCPUs of the QEMUs that run on a host, from the cgroups that their threads are in. A cgroup that
# is left of another guest says nothing of this one.
CGROUP_LIMIT = """
from pathlib import Path
for process in Path("/proc").glob("[0-9]*"):
    try:
        if not (process / "comm").read_text().startswith("qemu-system"):
            continue
        vcpus = [task for task in process.glob("task/*") if (task / "comm").read_text().startswith("CPU ")]
        for line in (line for task in vcpus for line in (task / "cgroup").read_text().splitlines()):
            path = line.split(":", 2)[2]
            for name in ("cpu.cfs_quota_us", "cpu.max"):
                for mount in ("cpu", "cpu,cpuacct", "unified", "."):
                    file = Path("/sys/fs/cgroup", mount, path.lstrip("/"), name)
                    if file.exists():
                        print(file.read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        continue  # it has ended
"""
IN_FORCE = (
    "run",
    "virsh schedinfo vcsp-guest; virsh -c qemu+ssh://root@source/system qemu-monitor-command vcsp-guest "
    """'{"execute":"query-migrate-parameters"}'""",
)
SETTINGS = "max-bandwidth|max-postcopy-bandwidth"
SWITCHES = "postcopy-ram|postcopy-preempt|events"


def source_settings() -> dict[str, Any]:
    """What a migration changes on the source's QEMU."""

    def ask(command: str) -> Any:
        request = json.dumps({"execute": command})
        return json.loads(on("source", f"virsh qemu-monitor-command vcsp-guest '{request}'"))["return"]

    found = {name: value for name, value in ask("query-migrate-parameters").items() if re.fullmatch(SETTINGS, name)}
    switches = {item["capability"]: item["state"] for item in ask("query-migrate-capabilities")}
    return {**found, **{name: state for name, state in switches.items() if re.fullmatch(SWITCHES, name)}}


def notes(host: str) -> list[str]:
    """Our notes in the guest's metadata."""
    return re.findall(r"<vcsp:(migration|throttled)\b", on(host, "virsh dumpxml vcsp-guest", check=False))


def dead_men() -> list[str]:
    return on("destination", "pgrep -x vcsp-deadman", check=False).split()


def quotas() -> set[str]:
    """The limits of the guest's vCPUs on the destination: as libvirt says, and as their cgroups have it.

    While it is being lifted, what is seen of the cgroup may be of before and after.
    """
    said = re.findall(r"vcpu_quota\s*:\s*(-?\d+)", on("destination", "virsh schedinfo vcsp-guest"))
    in_cgroup = on("destination", f"python3 -c '{CGROUP_LIMIT}'").split()
    assert said and in_cgroup, (said, in_cgroup)
    return {limit.replace("max", "-1") for limit in (*said, *in_cgroup)}


def test_a_second_call_is_refused_by_name_and_the_first_completes(guest: Migrate) -> None:
    # Slowed until the others have returned, to some minutes. A push that is held fast may keep the destination's main
    # loop waiting for a page, and so whoever asks it something.
    settings, held, go = {**COMMON, **PUSH}, "/run/vcsp-test-held", "/run/vcsp-test-go"
    wait = f"touch {held}; until [ -e {go} ]; do sleep 0.1; done; rm {held} {go}"
    steps = ("await", "post-copy"), ("rate", 1 << 18), ("run", wait), LET_GO
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(follow, lambda: guest(**settings), *steps)
        # On the way there, each look at a QEMU that does not answer takes half a minute.
        wait_until(
            lambda: first.done() or on("destination", f"ls {held} || true") == f"{held}\n", 300, "the first call"
        )
        assert notes("source") == ["migration"]
        checked, refused = guest(check=True, **settings), guest(**settings)
        on("destination", f"touch {go}")
        done, (seen, *_others) = first.result()
    assert seen.split and seen.module, seen
    assert checked.returncode == 0, checked.stdout
    assert refused.returncode != 0, refused.stdout
    named = r"vcsp-guest is being migrated by another call \(process \d+ on destination, since [\d:]{8} UTC\): wait"
    for answer in checked, refused:
        assert re.search(named, answer.stdout), answer.stdout
    assert result(refused)["phase"] == "preparing"
    assert "runs on the source" not in refused.stdout
    assert_migrated(done)
    assert notes("destination") == []
    assert dead_men() == []


def test_settings_that_a_killed_call_left_are_put_back_by_one_that_is_ended(guest: Migrate) -> None:
    before = source_settings()
    killed, (seen, _killed) = follow(lambda: guest(**BASELINE), ("await", "baseline"), KILL_MODULE)
    assert seen.module and killed.returncode != 0, killed.stdout
    assert source_settings() != before, "the fault missed what it should leave behind"
    checked = guest(check=True, **BASELINE)
    assert "an earlier call left settings or a quota in force on the source" in checked.stdout
    assert source_settings() != before, "a check changed something"
    ended, (seen, _termed) = follow(lambda: guest(**BASELINE), ("await", "baseline"), TERM_MODULE)
    assert seen.module and "SIGTERM" in ended.stdout, ended.stdout
    assert source_settings() == before
    assert notes("source") == []
    assert guests("destination") == []
    assert dead_men() == []
    assert_on_the_source()


@pytest.mark.long
def test_settings_that_a_killed_call_left_are_put_back_by_one_that_is_refused(guest: Migrate) -> None:
    before = source_settings()
    follow(lambda: guest(**BASELINE), ("await", "baseline"), KILL_MODULE)
    assert source_settings() != before, "the fault missed what it should leave behind"
    refused = guest(**{**BASELINE, "migration_address": "198.18.1.11"})
    assert "not an address of this host" in refused.stdout
    assert source_settings() == before
    assert notes("source") == []
    assert_migrated(guest(**{**BASELINE, "baseline_s": 0}))
    assert notes("destination") == []


def test_a_module_killed_in_post_copy_leaves_neither_quota_nor_hold(guest: Migrate) -> None:
    # The window is larger than the guest's, so that the push is held for as long as the module lives.
    settings = {**COMMON, **DEMAND, "window_mb": 4096, "max_postcopy_bandwidth_mb_per_s": 0}
    steps = ("await", "post-copy"), IN_FORCE, KILL_MODULE
    done, (_split, in_force, killed) = follow(lambda: guest(**settings), *steps)
    killed_s = time.monotonic()
    assert_hit(in_force)
    assert "vcpu_quota     : 5000" in in_force.output, in_force.output
    assert '"max-postcopy-bandwidth":4096' in in_force.output, in_force.output
    assert not killed.module and done.returncode != 0, killed
    while not (limits := quotas()) <= {"0", "-1"}:
        assert time.monotonic() - killed_s < 10, f"10 s after the kill the guest is limited: {limits}"
    wait_until(lambda: dead_men() == [], 10 - (time.monotonic() - killed_s), "the dead-man to end")
    wait_until(
        lambda: (
            "completed" in on("destination", 'virsh qemu-monitor-command vcsp-guest \'{"execute":"query-migrate"}\'')
        ),
        60,
        "the guest to come home by itself",
    )
    assert memory_verified("destination")
    again = guest(**settings)
    assert_migrated(again, "an interrupted migration was completed; it was not measured")
    assert notes("destination") == []


@pytest.mark.long
def test_a_quota_that_is_tighter_already_stays(guest: Migrate) -> None:
    on("source", "virsh schedinfo vcsp-guest --live vcpu_period=100000 vcpu_quota=30000")
    done = guest(**{**COMMON, **DEMAND, "max_postcopy_bandwidth_mb_per_s": 0})
    assert done.returncode == 0, done.stdout
    reason = "the requested quota was not in force: the guest had a tighter one, 30 % of a processor"
    assert result(done)["validity"]["reasons"] == [reason]
    assert quotas() == {"30000"}
