# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a post-copy migration stands: pure functions of what both QEMUs report.

The statuses are QEMU's MigrationStatus (qapi/migration.json). The source has the last word before the switch, since it
runs the guest; after it both must agree, since each holds a part of the guest's memory.
"""

from __future__ import annotations

import enum


class Phase(enum.Enum):
    """What may be done next, seen from the guest's safety."""

    PREPARING = "preparing"  # the guest runs on the source; everything can be undone
    PRECOPY = "pre-copy"  # the same, memory already flows; can be cancelled
    POSTCOPY = "post-copy"  # the guest is split over two hosts; the only way is forward
    PAUSED = "post-copy paused"  # split, and the link is gone: must be recovered
    RECOVERING = "post-copy recovering"
    COMPLETED = "completed"
    FAILED = "failed"  # before the switch: the guest is on the source
    LOST = "lost"  # the only, or one half of the guest is gone

    @property
    def reversible(self) -> bool:
        """Whether the guest's whole state is still on the source."""
        return self in (Phase.PREPARING, Phase.PRECOPY, Phase.FAILED)


_POSTCOPY = {"postcopy-device", "postcopy-active"}
_RECOVERING = {"postcopy-recover-setup", "postcopy-recover"}


def phase(source: str | None, destination: str | None) -> Phase:
    """Phase for the status of both sides; None means that this QEMU is gone.

    >>> phase("active", "active").value
    'pre-copy'
    >>> phase("postcopy-active", None).value
    'lost'
    """
    if source == "completed" and destination in ("none", "setup"):
        source = "none"  # QEMU still tells of the migration or the saved state that the guest came from
    sides = (source, destination)
    switched = any(side is not None and side.startswith("postcopy") for side in sides)
    # All memory has arrived; a source that the broken link kept from hearing of it has nothing to add.
    if destination == "completed" and source in ("completed", "postcopy-paused", "failed", None):
        return Phase.COMPLETED
    if destination == "completed" or (source == "completed" and destination is not None and destination != "failed"):
        return Phase.POSTCOPY  # one side has not seen the end yet
    if source is None or (switched and (None in sides or "failed" in sides)):
        return Phase.LOST
    if source == "completed":
        return Phase.LOST  # it handed everything over, and nobody has it
    if "postcopy-paused" in sides:
        return Phase.RECOVERING if _RECOVERING & set(sides) else Phase.PAUSED
    if _RECOVERING & set(sides):
        return Phase.RECOVERING
    if _POSTCOPY & set(sides):
        return Phase.POSTCOPY
    if source in ("failed", "cancelled", "cancelling") or None in sides or destination == "failed":
        return Phase.FAILED
    if source in ("active", "device", "pre-switchover", "wait-unplug"):
        return Phase.PRECOPY
    return Phase.PREPARING
