# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The migration module on a real guest, and what is left when it is stopped in the middle."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

from .conftest import bpf_programs, guests, on, result

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
