# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a migration that went wrong is told: what happened, where the guest is, and what to do."""

from __future__ import annotations

from .._host.endpoints import virsh
from .._measure.readings import Settings
from .phases import Phase


class MigrationError(Exception):
    """A migration that did not go as asked; ``phase`` says where the guest is."""

    def __init__(self, text: str, at: Phase) -> None:
        super().__init__(text)
        self.phase = at


def advised(text: str, at: Phase, settings: Settings) -> MigrationError:
    """The error with what an operator should do about a migration that stopped in a phase."""
    return MigrationError(f"{text}. {advice(at, settings)}", at)


def advice(at: Phase, settings: Settings) -> str:
    """Where the guest is, and what should be done about it."""
    if at.reversible:
        return f"The guest {settings.name} runs on the source; nothing needs to be done."
    if at is Phase.COMPLETED:
        return f"The guest {settings.name} runs on the destination; nothing needs to be done."
    if at is Phase.LOST:
        return (
            "What is left of it is kept paused for forensics and must not be resumed; end it with "
            f"{virsh(settings.source_uri, 'destroy', settings.name)} or "
            f"{virsh(settings.destination_uri, 'destroy', settings.name)}."
        )
    return (
        f"The guest {settings.name} is split over both hosts: destroy NEITHER half. Mend the link, then run the same "
        "task again: it finds the half migrated guest and brings it home."
    )
