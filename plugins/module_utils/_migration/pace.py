# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When to look again, and how long nothing has changed. Times are CLOCK_MONOTONIC in seconds."""

from __future__ import annotations

import time
from typing import Any


class Pace:
    """Says when something is due again: querying QEMU costs both hosts time that the guest needs."""

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self._next_s = time.monotonic() + every_s

    def due(self) -> bool:
        if time.monotonic() < self._next_s:
            return False
        self._next_s = time.monotonic() + self.every_s
        return True


class Watch:
    """Measures how long a value has not changed.

    :ivar value: the last value seen.
    """

    def __init__(self) -> None:
        self.value: Any = None
        self.restart()

    def restart(self) -> None:
        self._since_s = time.monotonic()

    def quiet_s(self, value: Any) -> float:
        if value != self.value:
            self.value = value
            self.restart()
        return time.monotonic() - self._since_s


class Descent:
    """Notices when a number has fallen by a worthwhile share of where it began.

    Whatever falls in steps of that size gets to 0, so that no trickle passes for progress for ever.
    """

    SHARE = 0.01

    def __init__(self) -> None:
        self._first: float | None = None
        self._mark = 0.0

    def fell(self, number: float | None) -> bool:
        """Whether it has, since it last did; the first number counts."""
        if number is None:
            return False
        if self._first is None:
            self._first = self._mark = number
            return True
        if number >= self._mark or self._mark - number < self.SHARE * self._first:
            return False
        self._mark = number
        return True
