# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When things happened in a trial, from its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def time_of_s(events: Sequence[Mapping[str, Any]], host: str, name: str, status: str | None = None) -> float | None:
    """Return the time of the first such event, in s from resume; None if there is none with a time.

    ``status`` is that of a MIGRATION event, such as "completed".
    """
    for event in events:
        is_it = event["host"] == host and event["name"] == name and status in (None, event["data"].get("status"))
        if is_it and event["time_s"] is not None:
            return float(event["time_s"])
    return None


def resume_to_completion_ms(events: Sequence[Mapping[str, Any]]) -> float | None:
    """Return how long the destination took from the guest's resume to the last page, in ms; None if not known."""
    resumed = time_of_s(events, "destination", "RESUME")
    completed = time_of_s(events, "destination", "MIGRATION", "completed")
    return None if resumed is None or completed is None or completed < resumed else (completed - resumed) * 1000
