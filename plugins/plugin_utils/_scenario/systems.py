# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kinds of guests, and how large each can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class System:
    """A kind of guest.

    :ivar own_mb: what its system and the workload program are given beside the working window.
    :ivar busy_mb: what of that is used while the window is walked, and so is faulted in with it.
    :ivar least_mb: least memory of such a guest, ``most_mb`` the most, and ``why`` it has no more.
    """

    own_mb: int
    busy_mb: int
    least_mb: int
    most_mb: int | None
    why: str = ""


SYSTEMS = {
    "debian": System(own_mb=160, busy_mb=5, least_mb=256, most_mb=None),
    # Its memory ends where the machine's devices begin (roles/guest_image/files/bare/layout.h).
    "bare": System(own_mb=4, busy_mb=1, least_mb=16, most_mb=3072, why="it uses no memory above 4 GB"),
}


def size_problems(guest: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a guest of this kind cannot have; ``guest`` is a scenario's, with its defaults."""
    name, memory_mb = guest["system"], guest["memory_mb"]
    system = SYSTEMS[name]
    if memory_mb < system.least_mb:
        yield f"guest.memory_mb: is {memory_mb}, but a {name} guest needs {system.least_mb}; use at least that"
    if system.most_mb is not None and memory_mb > system.most_mb:
        yield (
            f"guest.memory_mb: is {memory_mb}, but a {name} guest has at most {system.most_mb}, because {system.why}; "
            f"use no more, or 'system: debian'"
        )
