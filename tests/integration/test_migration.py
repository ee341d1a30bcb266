# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The migration module on a real guest, and what is left when it is stopped in the middle."""

from __future__ import annotations

import random
import re
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import bpf_programs, guests, on, result, wait_until

Migrate = Callable[..., subprocess.CompletedProcess[str]]
# Half a quota and a link that takes seconds: there is time to stop it in the middle.
SLOW = {"vcpu_quota_percent": 50, "prefetch_pages": 10, "transfer": "demand", "verify": True}


def quotas(host: str) -> str:
    return re.findall(r"vcpu_quota\s*:\s*(-?\d+)", on(host, "virsh", "schedinfo", "vcsp-guest"))[0]


def test_push_moves_the_guest_and_keeps_it(guest: Migrate) -> None:
    done = guest(transfer="push", verify=True)
    assert done.returncode == 0, done.stdout
    returned = result(done)
    assert returned["memory_verified"] is True
    assert returned["measurements"]["pages_sent"] > 2048
    assert guests("source") == []
    assert "running" in on("destination", "virsh", "domstate", "vcsp-guest")
    assert bpf_programs() == set()


def test_the_quota_is_gone_after_a_migration(guest: Migrate) -> None:
    done = guest(**SLOW)
    assert done.returncode == 0, done.stdout
    assert int(quotas("destination")) <= 0
    assert "throttled" not in on("destination", "virsh", "dumpxml", "vcsp-guest")


@pytest.mark.parametrize("signal_name", ["TERM", "KILL"])
def test_a_stopped_module_leaves_a_whole_guest(guest: Migrate, signal_name: str) -> None:
    thread = threading.Thread(target=guest, kwargs={**SLOW, "window_mb": 256})  # walks 32 times: held for seconds
    thread.start()
    try:
        wait_until(lambda: "running" in on("destination", "virsh domstate vcsp-guest", check=False), 60, "the switch")
        on("destination", "pkill", f"-{signal_name}", "-x", "python3")
    finally:
        thread.join()
    if signal_name == "KILL":
        assert "vcsp-guest" in guests("source"), "the guest should be split over both hosts here"
        assert bpf_programs() == set(), "the program lives no longer than its process"
        done = guest(**SLOW)
        assert done.returncode == 0, done.stdout
        assert result(done)["taken_over"] is True
    wait_until(lambda: guests("source") == [], 30, "the source's half to go")
    assert "running" in on("destination", "virsh", "domstate", "vcsp-guest")
    assert int(quotas("destination")) <= 0
    assert bpf_programs() == set()


def migrate_over_a_cut_link(guest: Migrate, after_s: float, for_s: float) -> dict[str, Any]:
    """Cut the link a time after the switch, for a time; returns what the module returned."""
    finished: list[subprocess.CompletedProcess[str]] = []
    thread = threading.Thread(
        target=lambda: finished.append(guest(**{**SLOW, "window_mb": 256}, stall_timeout_s=3, timeout_s=120))
    )
    thread.start()
    try:
        wait_until(lambda: "running" in on("destination", "virsh domstate vcsp-guest", check=False), 60, "the switch")
        time.sleep(after_s)
        on("destination", f"ip link set mig0 down; sleep {for_s}; ip link set mig0 up")
    finally:
        thread.join()
    assert finished[0].returncode == 0, finished[0].stdout
    return result(finished[0])


def test_a_cut_link_is_recovered(guest: Migrate) -> None:
    returned = migrate_over_a_cut_link(guest, after_s=0, for_s=8)
    assert returned["memory_verified"] is True
    assert guests("source") == []
    assert bpf_programs() == set()


@pytest.mark.long
@pytest.mark.parametrize("attempt", range(10))
def test_a_link_cut_at_any_moment_loses_nothing(guest: Migrate, attempt: int) -> None:
    after_s = random.Random(attempt).uniform(0, 2)
    returned = migrate_over_a_cut_link(guest, after_s, for_s=(1, 10)[attempt % 2])
    assert returned["memory_verified"] is True
