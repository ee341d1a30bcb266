# SPDX-License-Identifier: GPL-3.0-or-later
"""What a workload is called in tables and reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NOT_STATED = "workload not stated"


def workload_label(workload: Mapping[str, Any]) -> str:
    """Name a workload by all of its settings, so that two that differ have different names.

    Settings that are null, as in imported data, are left out; with none left the name is "workload not stated".
    """
    window_mb, pattern, work = workload["window_mb"], workload["pattern"], workload["work_per_page"]
    size = None if window_mb is None else f"{window_mb} MB"
    parts = [part for part in (size, pattern, None if work is None else f"work {work}") if part is not None]
    return " ".join(parts) or NOT_STATED
