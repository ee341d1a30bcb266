# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How long a guest did not run, from QEMU's ``STOP`` and ``RESUME`` events."""

from __future__ import annotations

from collections.abc import Iterable


def paused_s(events: Iterable[tuple[float, str]], start_s: float, end_s: float) -> float:
    """Time in seconds between two times for which one host's guest was paused.

    :param events: times and names of that host's events, in order; all but ``STOP`` and ``RESUME`` are ignored.
    """
    runs = [(time_s, name) for time_s, name in events if name in ("STOP", "RESUME")]
    total_s = 0.0
    # One that is resumed first of all was paused before anybody listened.
    since_s = start_s if runs and runs[0][1] == "RESUME" else None
    for time_s, name in (*runs, (end_s, "RESUME")):
        if name == "STOP":
            since_s = time_s if since_s is None else since_s
        elif since_s is not None:
            total_s += max(0.0, min(time_s, end_s) - max(since_s, start_s))
            since_s = None
    return total_s
