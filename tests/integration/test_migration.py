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


def test_the_time_series_of_a_trial_go_to_a_folder(guest: Migrate) -> None:
    folder = "/var/lib/libvirt/vcsp/series"
    try:
        done = guest(transfer="demand", prefetch_pages=10, window_mb=8, observation_s=8, files_dir=folder)
        assert done.returncode == 0, done.stdout
        returned = result(done)
        assert returned["files"] == {}
        assert sorted(returned["stored_files"]) == [f"{folder}/{name}.csv.gz" for name in ("requests", "telemetry")]
        requests = on("destination", "zcat", f"{folder}/requests.csv.gz").splitlines()
        telemetry = on("destination", "zcat", f"{folder}/telemetry.csv.gz").splitlines()
    finally:
        on("destination", "rm", "-rf", folder)
    seen = returned["instruments"]["request_trace"]["values"]
    assert "dropped" not in seen
    assert len(requests) == 1 + seen["requests"]
    assert sum(int(line.split(",")[-1]) for line in requests[1:]) == seen["sent_kb"] * 1024
    assert {line.split(",")[1] for line in telemetry[1:]} >= {"destination"}
