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


def room_mb(guest: Mapping[str, Any]) -> int:
    """Return the largest window, in MB, that fits in a guest's memory beside its system and its idle memory.

    :param guest: the guest of a scenario, with its defaults
    """
    return int(guest["memory_mb"]) - SYSTEMS[guest["system"]].own_mb - int(guest["idle_mb"])


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
    idle_mb = guest["idle_mb"]
    if idle_mb > 0 and room_mb(guest) < 1:
        yield (
            f"guest.idle_mb: is {idle_mb}, but a guest of {memory_mb} MB also holds the {system.own_mb} MB of its "
            f"system and a window; use less, or guest.memory_mb of at least {idle_mb + system.own_mb + 1}"
        )
