# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What one call needs throughout: connections to both hosts, events, signals, time, and where the migration stands."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from .._destination.cgroup_quota import Limits
from .._destination.deadman import DeadMan
from .._destination.prefetch import Prefetch
from .._host.oob import OutOfBand
from .._host.qmp import ConnectionFailed, GuestGone, Host, Monitor, NoAnswer, QmpError
from .._libvirt import libvirt
from .._measure.readings import Readings
from .._options import Options
from . import fitness
from .cancellation import Cancellation
from .errors import GuestLost, MigrationError, MigrationFailed
from .event_log import EventLog
from .owner import Owner
from .pace import Descent, Pace, Watch
from .standing import Seen
from .steps import Situation
from .whereabouts import Whereabouts, unknown

# Shortest time between two attempts at the same action.
RETRY_S = 1.0
# How long an undo is retried while libvirtd is away; a restart takes seconds.
UNDO_S = 30.0
# How often to query QEMU when no event has arrived, which costs the guest time, and how often to check all else.
LOOK_S, POLL_S = 0.5, 0.05


@dataclass(frozen=True)
class Incoming:
    """The destination's QEMU: process, port it listens on, and the URI for the source to connect to."""

    pid: int
    port: int
    uri: str


class Session:
    """What all parts of the transaction share; connected to both hosts within its context.

    :param report: called with a line for each event that an operator should know of.
    :ivar stack: what has to be undone while both hosts can still be reached.
    :ivar now: where the migration stands, and the only record of it; replaced, never changed.
    :ivar owner: this call, as others see it.
    :ivar claimed: the source's guest bears this call's note (journal.py).
    :ivar caught_up: the guest's run state was looked at after the switch.
    :ivar oob: the destination's monitor for out-of-band commands, if there is one.
    :ivar limits_before: CPU limits in the cgroups of the destination's vCPUs before our quota.
    :ivar deadline_s: when the migration is late unless it makes progress, CLOCK_MONOTONIC.
    :ivar give_up_s: when it is late whatever it does.
    :ivar left: the memory that is left to be sent.
    """

    def __init__(self, options: Options, report: Callable[[str], None]) -> None:
        self.options, self.report = options, report
        self.readings = Readings()
        self.stack = ExitStack()
        self._connections = ExitStack()
        self.log = EventLog(self.readings)
        self.cancellation = Cancellation(self.log.wake)
        self.source = Monitor(Host("source", options.source_uri), options.name)
        self.destination = Monitor(Host("destination", options.destination_uri), options.name)
        self.now = Situation("none", "none", started=False, lifts_early=options.method.vcpu_quota_until != "completed")
        self.owner, self.claimed = Owner.this_call(), False
        self.dead_man = DeadMan()
        self.stack.callback(self.dead_man.close)
        self.limits_before: Limits = ()
        self.incoming: Incoming | None = None
        self.oob: OutOfBand | None = None
        self.prefetch: Prefetch | None = None
        self.deadline_s = time.monotonic() + options.timeout_s + options.baseline_s + (options.observation_s or 0)
        self.give_up_s = math.inf
        self.quiet, self.left = Watch(), Descent()
        self.last_error: str | None = None
        self.caught_up = False

    def __enter__(self) -> Session:
        """Connect to both hosts.

        :raises ConnectionFailed: libvirt cannot be reached on one of them.
        """
        with ExitStack() as entering:
            for monitor in (self.source, self.destination):
                entering.callback(monitor.host.close)
                entering.callback(monitor.close)
                monitor.host.connection()
            entering.enter_context(self.cancellation)
            self._connections = entering.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._connections.close()

    @property
    def over(self) -> bool:
        """Whether this call should end: from then on, it waits for no host that hangs."""
        return self.cancellation.reason is not None or time.monotonic() > min(self.deadline_s, self.give_up_s)

    def ending(self, role: str) -> str:
        """What an error adds about how a side's QEMU ended: nothing, unless it was the guest that shut down.

        QEMU sends SHUTDOWN also when a signal ends it (qapi/run-state.json).
        """
        return " (the guest shut down)" if self.readings.time_of(role, "SHUTDOWN", guest=True) is not None else ""

    # -- querying ----------------------------------------------------------------------------------------------------

    def answer(self, monitor: Monitor) -> dict[str, Any] | None:
        """A side's answer to query-migrate; None if its QEMU is gone."""
        try:
            found: dict[str, Any] = monitor.execute("query-migrate")
        except GuestGone:
            return None
        return found

    def status(self, monitor: Monitor) -> str | None:
        """A side's MigrationStatus; None if its QEMU is gone."""
        answer = self.answer(monitor)
        return None if answer is None else answer.get("status", "none")

    def failed(self, error: Exception) -> MigrationError:
        """The error, with where the guest is now, after a fresh look at both hosts."""
        try:
            source, destination = (
                self.persist(partial(fitness.inspect, monitor)) for monitor in (self.source, self.destination)
            )
        except (ConnectionFailed, MigrationFailed, QmpError) as away:
            if not isinstance(error, GuestLost):
                last_seen = self.now if self.claimed or self.now.started else None
                return MigrationError(f"{error}. {unknown(str(away), self.options, last_seen)}", self.now.phase)
            # The half that is left hangs, since it waits for memory that will not come.
            source, destination = (None if status is None else Seen(status, "unknown") for status in self.now.sides)
        found = Whereabouts(source, destination)
        return MigrationError(f"{error}. {found.describe(self.options, getattr(error, 'advice', None))}", found.phase)

    def progress(self) -> str:
        """The last progress seen, for an error message."""
        parts = []
        if self.now.started:
            parts.append(f"source, destination, bytes sent, bytes left, page requests: {self.quiet.value}")
        channels = (self.readings.source_channel, self.readings.destination_channel)
        times = [channel.samples[-1].time_s for channel in channels if channel is not None and channel.samples]
        if times:
            parts.append(f"last line from the guest: {time.monotonic() - max(times):.1f} s ago")
        return "; ".join([*parts, *([f"last error: {self.last_error}"] if self.last_error else [])])

    # -- insisting and waiting ---------------------------------------------------------------------------------------

    def insist(self, action: Callable[[], Any]) -> Any:
        """Do what must be done, with retries while libvirtd is away; returns None if the guest is gone.

        :raises ConnectionFailed: libvirtd did not come back, or a host hangs and this call should end.
        :raises MigrationFailed: QEMU hangs in the kernel.
        """
        give_up_s = time.monotonic() + UNDO_S
        while True:
            try:
                return action()
            except GuestGone:
                return None
            except TimeoutError as error:
                raise MigrationFailed(str(error)) from error
            except (ConnectionFailed, libvirt.libvirtError) as error:
                if time.monotonic() > give_up_s or (isinstance(error, NoAnswer) and self.over):
                    raise ConnectionFailed(str(error)) from error
                time.sleep(RETRY_S)

    def persist(self, action: Callable[[], Any]) -> Any:
        """The same, but a guest that is not found is looked for once more before that is believed.

        :raises ConnectionFailed: libvirtd did not come back.
        """
        done = self.insist(action)
        if done is None:
            time.sleep(RETRY_S)
            done = self.insist(action)
        return done

    def wait(
        self,
        condition: Callable[[], Any],
        deadline_s: float,
        what: str,
        needs: tuple[Monitor, ...] = (),
        cancellable: bool = True,
        advice: str = "",
    ) -> None:
        """Wait until a condition holds.

        :param deadline_s: CLOCK_MONOTONIC.
        :param what: what is being waited for, for error messages.
        :param needs: the QEMUs that must stay alive meanwhile.
        :param cancellable: whether a cancellation ends the wait.
        :param advice: what to do if the deadline passes.
        :raises MigrationFailed: cancelled, the deadline passed, or a QEMU ended.
        """
        pace = Pace(LOOK_S)
        while True:
            try:
                if condition():
                    return
                if pace.due():
                    self._check_alive(needs, what)
            except (ConnectionFailed, libvirt.libvirtError) as error:
                self.last_error = str(error)
            if cancellable and self.cancellation.reason is not None:
                raise MigrationFailed(f"{self.cancellation.reason} while waiting for {what}")
            if time.monotonic() > deadline_s:
                raise MigrationFailed(f"gave up waiting for {what}{advice and f': {advice}'} ({self.progress()})")
            self.log.sleep(POLL_S)

    def _check_alive(self, needs: tuple[Monitor, ...], what: str) -> None:
        for monitor in needs:
            if not monitor.is_alive():
                ending = self.ending(monitor.role)
                raise MigrationFailed(f"the {monitor.role}'s QEMU ended while waiting for {what}{ending}")
