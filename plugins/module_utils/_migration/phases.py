# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The phase of a post-copy migration, a pure function of what both QEMUs report.

The statuses are QEMU's MigrationStatus (qapi/migration.json). Before the switch the source has the last word, since it
runs the guest; after it both must agree, since each holds part of the guest's memory.
"""

from __future__ import annotations

import enum


class Phase(enum.Enum):
    """What is safe for the guest to do next."""

    PREPARING = "preparing"  # the guest runs on the source; everything can be undone
    PRECOPY = "pre-copy"  # the same, but memory is being sent; can be cancelled
    POSTCOPY = "post-copy"  # the guest is split over two hosts; the only way is forward
    PAUSED = "post-copy paused"  # split, and the link is gone: must be recovered
    RECOVERING = "post-copy recovering"
    COMPLETED = "completed"
    FAILED = "failed"  # before the switch: the guest is on the source
    LOST = "lost"  # the guest, or half of it, is gone

    @property
    def reversible(self) -> bool:
        """Whether the guest's whole state is still on the source."""
        return self in (Phase.PREPARING, Phase.PRECOPY, Phase.FAILED)


_POSTCOPY = {"postcopy-device", "postcopy-active"}
_RECOVERING = {"postcopy-recover-setup", "postcopy-recover"}


def phase(source: str | None, destination: str | None) -> Phase:
    """The phase that follows from both sides' statuses; None means that a QEMU is gone.

    >>> phase("active", "active").value
    'pre-copy'
    >>> phase("postcopy-active", None).value
    'lost'
    """
    if source == "completed" and destination in ("none", "setup"):
        source = "none"  # left over from the migration or saved state that the guest came from
    sides = (source, destination)
    switched = any(side is not None and side.startswith("postcopy") for side in sides)
    # All memory has arrived, whether or not a broken link kept the source from hearing of it.
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
