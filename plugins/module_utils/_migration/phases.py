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
    SWITCHING = "switching"  # stopped, but the destination does not run yet: after a failure, the source goes on
    POSTCOPY = "post-copy"  # the guest is split over two hosts; the only way is forward
    PAUSED = "post-copy paused"  # split, and the link is gone: must be recovered
    RECOVERING = "post-copy recovering"
    COMPLETED = "completed"
    FAILED = "failed"  # before the switch: the guest is on the source
    LOST = "lost"  # the guest, or half of it, is gone
    UNKNOWN = "unknown"  # a QEMU reports what this code does not know: nothing is undone, nothing is claimed

    @property
    def reversible(self) -> bool:
        """Whether the guest's whole state is still on the source."""
        return self in (Phase.PREPARING, Phase.PRECOPY, Phase.SWITCHING, Phase.FAILED)


DEVICE = "postcopy-device"  # QEMU >= 10.2: the destination loads the devices' state
SENDING = frozenset({"active", "device", "pre-switchover", "wait-unplug"})
FAILED = frozenset({"failing", "failed", "cancelling", "cancelled"})  # "failing" since QEMU 11.0
_WAITING = frozenset({"none", "setup"})
_RECOVERING = frozenset({"postcopy-recover-setup", "postcopy-recover"})
_KNOWN = _WAITING | SENDING | FAILED | {"completed", None}


def split(status: str | None) -> bool:
    """Whether a side with this status holds only part of a guest's memory."""
    return status is not None and status.startswith("postcopy") and status != DEVICE


def known(status: str | None) -> bool:
    """Whether the status is one that a post-copy migration can have."""
    return status in _KNOWN or status == DEVICE or split(status)


def has_switched(source: str | None, destination: str | None) -> bool:
    """Whether the destination is seen to run the guest. A QEMU that is gone is no such sight."""
    if split(source) or split(destination) or destination == "completed":
        return True
    return source == "completed" and destination in SENDING | {DEVICE}


def phase(source: str | None, destination: str | None) -> Phase:
    """The phase that follows from both sides' statuses; None means that a QEMU is gone.

    >>> phase("active", "active").value
    'pre-copy'
    >>> phase("postcopy-active", None).value
    'lost'
    """
    if source == "completed" and destination in _WAITING:
        source = "none"  # left over from the migration or saved state that the guest came from
    if not known(source) or not known(destination):
        return Phase.UNKNOWN
    sides = {source, destination}
    # All memory has arrived, whether or not a broken link kept the source from hearing of it.
    if destination == "completed" and (source in FAILED or source in ("completed", "postcopy-paused", None)):
        return Phase.COMPLETED
    if has_switched(source, destination):
        return _after_the_switch(source, destination)
    if source in (None, "completed"):
        return Phase.LOST  # the guest ended, or was handed over and nobody has it
    if sides & (FAILED | {None}):
        return Phase.FAILED
    if DEVICE in sides:
        return Phase.SWITCHING
    return Phase.PRECOPY if source in SENDING else Phase.PREPARING


def _after_the_switch(source: str | None, destination: str | None) -> Phase:
    sides = {source, destination}
    if destination != "completed" and sides & (FAILED | {None}):
        return Phase.LOST
    if "completed" in sides:
        return Phase.POSTCOPY  # one side has not seen the end yet
    if sides & _RECOVERING:
        return Phase.RECOVERING
    return Phase.PAUSED if "postcopy-paused" in sides else Phase.POSTCOPY
