# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a failed migration is reported: what happened, where the guest is now, and what to do."""

from __future__ import annotations

from .phases import Phase


class MigrationFailed(Exception):
    """A migration failed, raised where it happens. Once all is undone, the transaction adds where the guest is.

    :param advice: what to do, unless that follows from where the guest is.
    """

    def __init__(self, text: str, advice: str | None = None) -> None:
        super().__init__(text)
        self.advice = advice


class GuestLost(MigrationFailed):
    """Half of the guest's memory is gone for good, whatever the other half says, or does not."""


class MigrationError(Exception):
    """A migration was refused or failed; the message says where the guest is and what to do.

    :ivar phase: where the guest is, for programs.
    """

    def __init__(self, text: str, phase: Phase) -> None:
        super().__init__(text)
        self.phase = phase
