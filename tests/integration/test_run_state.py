# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A guest that is paused, stopped or ended by others around a real migration: it arrives as its operator left it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Done, bpf_programs, follow, guests, memory_verified, on, result

Migrate = Callable[..., Done]
Step = tuple[str, Any]
SETTINGS = {"transfer": "demand", "window_mb": 8, "verify": True, "vcpu_quota_percent": 50, "prefetch_pages": 10}
OBSERVED = {**SETTINGS, "observation_s": 15}
PAUSED_BEFORE = "its operator paused the guest before the switch; it is paused on the destination"
SUSPEND_SOURCE: Step = ("run", "ssh root@source virsh suspend vcsp-guest")
SUSPEND_HERE: Step = ("run", "virsh suspend vcsp-guest")
STOP_WAITING: Step = ("run", """virsh qemu-monitor-command vcsp-guest '{"execute": "stop"}'""")


def domstate(host: str) -> str:
    return on(host, "virsh", "domstate", "vcsp-guest").strip()


def assert_paused_at_home() -> None:
    """The guest is paused on the destination, whole, and nothing of it is left on the source."""
    assert guests("source") == []
    assert domstate("destination") == "paused"
    on("destination", "virsh", "resume", "vcsp-guest")
    assert memory_verified("destination")
    assert bpf_programs() == set()


def assert_arrived_paused(done: Done) -> None:
    """The call ended well, said that the guest is paused, and measured nothing."""
    assert done.returncode == 0, done.stdout
    returned = result(done)
    assert returned["run_state"] == "paused"
    assert returned["validity"] == {"valid": False, "reasons": [PAUSED_BEFORE]}
    assert "is paused on the destination: resume it with virsh" in " ".join(done.stdout.split())  # a warning
    assert_paused_at_home()


@pytest.mark.long
def test_a_guest_paused_before_the_call_arrives_paused(guest: Migrate) -> None:
    on("source", "virsh", "suspend", "vcsp-guest")
    assert_arrived_paused(guest(**OBSERVED, baseline_s=1))


def test_a_guest_paused_in_the_baseline_arrives_paused(guest: Migrate) -> None:
    steps = ("await", "baseline"), SUSPEND_SOURCE
    done, (before, suspended) = follow(lambda: guest(**OBSERVED, baseline_s=5), *steps)
    assert before.module and suspended.module, before
    assert "suspended" in suspended.output, suspended
    assert_arrived_paused(done)


@pytest.mark.long
def test_a_paused_guest_is_resumed_if_the_call_asks_for_that(guest: Migrate) -> None:
    on("source", "virsh", "suspend", "vcsp-guest")
    done = guest(**OBSERVED, run_state="running")
    assert done.returncode == 0, done.stdout
    returned = result(done)
    assert returned["run_state"] == "running"
    assert returned["memory_verified"] is True
    assert returned["validity"]["reasons"] == [PAUSED_BEFORE.replace("is paused", "was resumed")]
    assert domstate("destination") == "running"
    assert guests("source") == []


@pytest.mark.parametrize("run_state", ["keep", pytest.param("running", marks=pytest.mark.long)])
def test_a_waiting_destination_that_somebody_stopped(guest: Migrate, run_state: str) -> None:
    steps = ("await", "baseline"), STOP_WAITING
    done, (before, stopped) = follow(lambda: guest(**OBSERVED, baseline_s=5, run_state=run_state), *steps)
    assert before.module and stopped.module, before
    assert '"return"' in stopped.output, stopped
    if run_state == "running":
        assert done.returncode == 0, done.stdout
        assert result(done)["run_state"] == "running"
        assert domstate("destination") == "running"
        return
    assert done.returncode != 0
    returned = result(done)
    assert "it arrived paused, because somebody stopped the waiting destination" in returned["msg"]
    assert "resume it with virsh" in returned["msg"]
    assert returned["phase"] == "completed"
    assert_paused_at_home()


def test_a_guest_paused_while_it_is_observed_is_reported(guest: Migrate) -> None:
    done, (home, suspended) = follow(lambda: guest(**OBSERVED), ("await", "observation"), SUSPEND_HERE)
    assert home.module and suspended.module, home
    assert done.returncode != 0
    returned = result(done)
    assert "is not running (paused)" in returned["msg"]
    assert "resume it with virsh" in returned["msg"]
    assert returned["phase"] == "completed"
    assert domstate("destination") == "paused"
    assert guests("source") == []
    assert bpf_programs() == set()


@pytest.mark.long
def test_the_stop_of_the_migration_is_not_taken_for_its_operators(guest: Migrate) -> None:
    ask: Step = ("run", "ssh root@source virsh domstate vcsp-guest --reason")
    steps = ("await", "post-copy"), ("rate", 4096), ask, SUSPEND_SOURCE, ask, ("rate", 0)
    done, (_split, _held, stopped, suspended, too_late, _let_go) = follow(
        lambda: guest(**SETTINGS, max_postcopy_bandwidth_mb_per_s=10), *steps
    )
    print(stopped, suspended, too_late, sep="\n")
    assert stopped.split and too_late.split, stopped
    assert stopped.output.startswith("paused") and "user" not in stopped.output, stopped
    assert done.returncode == 0, done.stdout
    assert result(done)["run_state"] == "running"
    assert domstate("destination") == "running"


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("virsh destroy vcsp-guest", id="destroy"),
        pytest.param("virsh qemu-monitor-command vcsp-guest --hmp quit", id="quit", marks=pytest.mark.long),
    ],
)
def test_a_guest_that_ends_on_the_source_leaves_nothing(guest: Migrate, command: str) -> None:
    steps = ("await", "baseline"), ("run", f"ssh root@source '{command}'")
    done, (before, ended) = follow(lambda: guest(**OBSERVED, baseline_s=5), *steps)
    assert before.module and ended.source is None, (before, ended)
    assert done.returncode != 0
    returned = result(done)
    assert "the source's QEMU ended" in returned["msg"] or "ended on the source before the switch" in returned["msg"]
    assert "memory is lost" not in returned["msg"]
    assert returned["phase"] == "lost"
    assert guests("source") == guests("destination") == []
    assert bpf_programs() == set()
