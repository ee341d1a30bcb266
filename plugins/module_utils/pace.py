# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When to look again, and when nothing has changed for too long. Times: CLOCK_MONOTONIC, s."""

from __future__ import annotations

import time
from typing import Any


class Pace:
    """Says when something is due again: asking QEMU costs both hosts time that the guest needs."""

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self._next_s = time.monotonic() + every_s

    def due(self) -> bool:
        if time.monotonic() < self._next_s:
            return False
        self._next_s = time.monotonic() + self.every_s
        return True


class Watch:
    """Tells when a value has not changed for a time."""

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self._value: Any = None
        self._since_s = time.monotonic()

    def quiet(self, value: Any) -> bool:
        now_s = time.monotonic()
        if value != self._value:
            self._value, self._since_s = value, now_s
        return now_s - self._since_s > self.patience_s
