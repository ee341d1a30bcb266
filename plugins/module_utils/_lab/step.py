# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the lab is made of: steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class LabError(Exception):
    """The lab cannot be set up, found or removed; the message says what to do."""


@dataclass(frozen=True)
class Step:
    """One thing that is missing, and how to set it up.

    :ivar changes: whether the lab is another one afterwards, and not only better known
    """

    what: str
    do: Callable[[], None]
    changes: bool = True
