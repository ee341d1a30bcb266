# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a guest stands when the module is called, a pure function of its domains on both hosts.

An earlier call may have been killed at any moment, so every combination has a name and a way forward.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .phases import Phase, phase

# QEMU's MigrationStatus of a source that is busy migrating (qapi/migration.json).
BUSY = ("setup", "active", "pre-switchover", "device", "wait-unplug", "cancelling")


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
    OCCUPIED = "has a namesake on the destination"
    ABSENT = "is nowhere"


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
    if destination is None:
        return Standing.ABSENT if source is None else _on_the_source(source)
    if source is None:
        return _on_the_destination(destination)
    # Never mistake a running guest for half of one that migrates, or for the rest of one that has left.
    if not destination.incoming or (source.run_state == "running" and destination.run_state != "inmigrate"):
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
    paused = source.run_state != "running" and source.migration in ("none", "completed")
    return Standing.STOPPED if paused else Standing.WAITING


def _on_the_source(source: Seen) -> Standing:
    if source.migration.startswith("postcopy"):
        return Standing.LOST
    if source.migration in BUSY:
        return Standing.MIGRATING
    return Standing.READY if source.run_state == "running" else Standing.STOPPED


def _on_the_destination(destination: Seen) -> Standing:
    if destination.migration.startswith("postcopy"):
        return Standing.LOST
    return Standing.ABSENT if destination.run_state == "inmigrate" else Standing.HOME
