# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The migration module on a real guest: what it moves, and the quota of a guest on its way."""

from __future__ import annotations

import re
from collections.abc import Callable

from .conftest import Done, bpf_programs, follow, guests, on, result

Migrate = Callable[..., Done]
SLOW = {"vcpu_quota_percent": 50, "prefetch_pages": 10, "transfer": "demand", "window_mb": 8, "verify": True}


def quota_us(text: str) -> int:
    """The vCPU quota that ``virsh schedinfo`` tells; 0 or less is none."""
    return int(re.findall(r"vcpu_quota\s*:\s*(-?\d+)", text)[0])


def test_push_moves_the_guest_and_keeps_it(guest: Migrate) -> None:
    done = guest(transfer="push", verify=True)
    assert done.returncode == 0, done.stdout
    returned = result(done)
    assert returned["memory_verified"] is True
    assert returned["measurements"]["pages_sent"] > 2048
    assert guests("source") == []
    assert "running" in on("destination", "virsh", "domstate", "vcsp-guest")
    assert bpf_programs() == set()


def test_a_quota_is_in_force_in_post_copy_and_lifted_at_its_end(guest: Migrate) -> None:
    ask = ("run", "virsh schedinfo vcsp-guest")
    # Held down, the migration does not end before the quota was looked at.
    steps = ("await", "post-copy"), ("rate", 4096), ask, ("rate", 0), ("await", "observation"), ask
    done, seen = follow(lambda: guest(**SLOW, observation_s=12), *steps)
    throttled, lifted = (one for one in seen if one.step == list(ask))
    assert throttled.split, throttled
    assert quota_us(throttled.output) == 5000
    assert lifted.module, "the module had ended before"
    assert quota_us(lifted.output) <= 0
    assert done.returncode == 0, done.stdout
    assert quota_us(on("destination", "virsh", "schedinfo", "vcsp-guest")) <= 0
    assert "throttled" not in on("destination", "virsh", "dumpxml", "vcsp-guest")
