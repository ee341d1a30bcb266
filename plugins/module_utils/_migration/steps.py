# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The next step of a migration, a pure function of what both hosts report.

The transaction looks, asks for the next step, takes it, and looks again. A lost reply, a restarted libvirtd or a call
that starts midway therefore need no code of their own.

    START -> SWITCH -> (RELEASE, LIFT_QUOTA) -> FINISH          all is well
    ROLL_BACK                                                   before the switch: the source keeps the guest
    PAUSE -> RECOVER -> ... -> FINISH                           after it: the only way is forward
    REPORT_LOST                                                   half of the guest is gone
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from .phases import SENDING, Phase, has_switched, phase

PAUSED = "postcopy-paused"


class Step(enum.Enum):
    """One thing to do; each can be repeated without harm."""

    WAIT = "wait"
    START = "start the migration"
    SWITCH = "switch to post-copy"
    RELEASE = "release the background push"
    LIFT_QUOTA = "lift the quota"
    PAUSE = "pause both sides"
    RECOVER = "reconnect both sides"
    ROLL_BACK = "give the guest back to the source"
    REPORT_LOST = "report the guest as lost"
    FINISH = "the guest is home"


@dataclass(frozen=True)
class Situation:
    """What both hosts report of a migration, and what was done so far.

    :ivar source: QEMU's MigrationStatus on the source; None if that QEMU is gone.
    :ivar destination: QEMU's MigrationStatus on the destination; None if that QEMU is gone.
    :ivar started: the migration was started on the source.
    :ivar switching: the switch to post-copy was requested.
    :ivar switched: post-copy was seen. This stays true: no later answer makes the migration reversible again.
    :ivar paused: the guest's operator had paused it on the source.
    :ivar held: the background push is held down.
    :ivar throttled: a quota is in force.
    :ivar lifts_early: the quota is lifted once the working set has arrived, not at the last page.
    :ivar arrived: the guest has walked its working window, or requests no more pages.
    :ivar quiet_s: how long there has been no progress.
    :ivar patience_s: how long that is tolerated.
    :ivar failure: why all that remains is to bring the guest home: cancelled, out of time, refused.
    :ivar taken_over: the same, because an earlier call left the guest half migrated.
    """

    source: str | None
    destination: str | None
    started: bool = True
    switching: bool = False
    switched: bool = False
    paused: bool = False
    held: bool = False
    throttled: bool = False
    lifts_early: bool = False
    arrived: bool = False
    quiet_s: float = 0.0
    patience_s: float = 15.0
    failure: str | None = None
    taken_over: bool = False

    @property
    def sides(self) -> tuple[str | None, str | None]:
        """Both statuses."""
        return self.source, self.destination

    @property
    def homeward(self) -> bool:
        """Whether all that remains is to bring the guest home."""
        return self.failure is not None or self.taken_over

    @property
    def awaits_working_set(self) -> bool:
        """Whether there is something to do once the working set has arrived."""
        return self.held or (self.throttled and self.lifts_early)

    @property
    def phase(self) -> Phase:
        """Where the migration stands."""
        if not self.started:
            return Phase.PREPARING
        return phase(self.source, self.destination)

    def seen(self, source: str | None, destination: str | None) -> Situation:
        """The situation after another look at both statuses. Only a positive sight of post-copy latches."""
        switched = self.switched or (self.started and has_switched(source, destination))
        return replace(self, source=source, destination=destination, switched=switched)

    @property
    def reversible(self) -> bool:
        """Whether the guest's whole state is on the source."""
        return self.phase.reversible and not self.switched


def next_step(now: Situation) -> Step:
    """The step to take now."""
    if now.phase is Phase.COMPLETED:
        return Step.FINISH
    if now.phase is Phase.LOST or (now.phase is Phase.FAILED and now.switched):
        return Step.REPORT_LOST
    if now.phase is Phase.UNKNOWN:
        return Step.WAIT
    if now.reversible:
        return _before_the_switch(now)
    return _after_the_switch(now)


def _before_the_switch(now: Situation) -> Step:
    if now.phase is Phase.FAILED or (now.started and now.quiet_s > now.patience_s):
        return Step.ROLL_BACK
    if now.homeward and not now.switching:  # a cancel that races with the switch could cost the guest
        return Step.ROLL_BACK
    if not now.started:
        return Step.START
    # With TLS, a source may be sending before the destination has accepted its certificate.
    if now.phase is Phase.PRECOPY and now.destination in SENDING and not now.homeward:
        return Step.SWITCH
    return Step.WAIT


def _after_the_switch(now: Situation) -> Step:
    if set(now.sides) == {PAUSED}:
        return Step.RECOVER
    if now.quiet_s > now.patience_s or now.phase is Phase.PAUSED:
        return Step.PAUSE
    if now.held and (now.arrived or now.homeward):
        return Step.RELEASE
    if now.throttled and now.lifts_early and (now.arrived or now.homeward):
        return Step.LIFT_QUOTA
    return Step.WAIT
