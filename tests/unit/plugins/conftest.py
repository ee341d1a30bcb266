# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the plugin tests share: a scenario and a trial's result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def scenario() -> dict[str, Any]:
    """A small scenario, as a user would write it."""
    return {"name": "small", "repeats": 1, "workloads": [{"window_mb": 8}], "methods": ["post-copy", "vcsp"]}


@pytest.fixture
def trial_result() -> Callable[..., dict[str, Any]]:
    """Make what the migration module returns for a good trial."""

    def make(**changes: Any) -> dict[str, Any]:
        return {
            "started_at": "2026-01-02T03:04:05Z",
            "ended_at": "2026-01-02T03:04:15Z",
            "events": [{"host": "source", "name": "STOP", "data": {}, "time_s": -0.01}],
            "clock_offset": {"offset_ms": 0.1, "bound_ms": 0.2},
            "measurements": {"total_migration_time_s": 2.125},
            "instruments": {"schedstat": {"present": True, "reason": None, "values": {"page_wait_ms": 900}}},
            "memory_verified": True,
            "validity": {"valid": True, "reasons": []},
            "files": {},
            **changes,
        }

    return make
