# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a guest stands when the module is called, a pure function of its domains on both hosts.

An earlier call may have been killed at any moment, so every combination has a name and a way forward.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .phases import DEVICE, SENDING, Phase, known, phase, split

# QEMU's MigrationStatus of a source that is busy migrating, and of one that ends its migration by itself.
ENDING = frozenset({"cancelling", "failing"})
BUSY = SENDING | ENDING | {"setup", DEVICE}
# QEMU's RunState of a guest that can be migrated; one that its operator paused arrives paused.
RUNNING, PAUSED = "running", "paused"
MOVABLE = (RUNNING, PAUSED)
# Those of a source that was stopped by its migration.
MIGRATING = ("finish-migrate", "postmigrate")


class Standing(enum.Enum):
    """What may be done with the guest."""

    READY = "runs on the source"
    STOPPED = "is on the source and does not run"
    MIGRATING = "is being migrated by somebody else"
    WAITING = "runs on the source, and an earlier call's other half waits for it"
    HALF = "is split over both hosts"
    ENDED = "runs on the destination, and the source's rest is left over"
    HOME = "is on the destination only"
    LOST = "has lost half of its memory"
    LEFT = "has left the source, and is not on the destination"
    OCCUPIED = "has a namesake on the destination"
    ABSENT = "is nowhere"
    UNKNOWN = "is in a state of migration that this collection does not know"


@dataclass(frozen=True)
class Seen:
    """A domain with the guest's name on one host.

    :ivar migration: QEMU's MigrationStatus.
    :ivar run_state: QEMU's RunState (qapi/run-state.json).
    :ivar incoming: whether it was started to wait for a migration driven by QMP, as this collection does.
    """

    migration: str
    run_state: str
    incoming: bool = False


def standing(source: Seen | None, destination: Seen | None) -> Standing:
    """Where the guest stands; None means that a host has no such domain.

    >>> standing(Seen("none", "running"), None).value
    'runs on the source'
    """
    if not all(known(seen.migration) for seen in (source, destination) if seen is not None):
        return Standing.UNKNOWN
    if destination is None:
        return Standing.ABSENT if source is None else _on_the_source(source)
    if source is None:
        return _on_the_destination(destination)
    # Never mistake a guest of its own for half of one that migrates, or for the rest of one that has left.
    if not destination.incoming or (_whole(source) and destination.run_state != "inmigrate"):
        return Standing.OCCUPIED
    current = phase(source.migration, destination.migration)
    if current in (Phase.POSTCOPY, Phase.PAUSED, Phase.RECOVERING):
        return Standing.HALF
    if current is Phase.LOST:
        return Standing.LOST
    if current is Phase.COMPLETED:
        return Standing.ENDED
    if destination.run_state != "inmigrate":
        return Standing.OCCUPIED
    if _has_left(source):
        return Standing.LEFT
    stopped = source.run_state not in MOVABLE and source.migration in ("none", "completed")
    return Standing.STOPPED if stopped else Standing.WAITING


def _whole(source: Seen) -> bool:
    """Whether it is a guest of its own. A source that has handed its guest over is in ``postmigrate``."""
    return source.run_state == RUNNING or (
        source.run_state == PAUSED and source.migration in ("none", "completed", "cancelled")
    )


def _has_left(source: Seen) -> bool:
    """Whether it has handed its guest over: resumed, that would go back in time."""
    return source.migration == "completed" and source.run_state in MIGRATING


def _on_the_source(source: Seen) -> Standing:
    if split(source.migration):
        return Standing.LOST
    if _has_left(source):
        return Standing.LEFT
    if source.migration in BUSY:
        return Standing.MIGRATING
    return Standing.READY if source.run_state in MOVABLE else Standing.STOPPED


def _on_the_destination(destination: Seen) -> Standing:
    if split(destination.migration):
        return Standing.LOST
    return Standing.ABSENT if destination.run_state == "inmigrate" else Standing.HOME
