# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ending a long run between two migrations, when somebody asks it to."""

from __future__ import annotations

import signal
from typing import Any


class Stop:
    """Whether Ctrl-C or SIGTERM came; what has begun is finished first, so that the guest stays home."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, _number: int, _frame: Any) -> None:
        self.asked = True
        print("stopping after this migration", flush=True)
