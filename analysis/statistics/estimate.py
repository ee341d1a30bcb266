# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An improvement in percent, and what may be said from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["improvement", "no difference shown", "worse"]


@dataclass(frozen=True)
class Estimate:
    """An improvement in percent, positive is better, and its 95 % interval; None is missing."""

    pct: float | None
    low: float | None
    high: float | None

    @property
    def verdict(self) -> Verdict | None:
        """What the interval says against 0; None without an interval: a single trial shows no spread."""
        if self.low is None or self.high is None:
            return None
        if self.low > 0:
            return "improvement"
        return "worse" if self.high < 0 else "no difference shown"


MISSING = Estimate(None, None, None)
