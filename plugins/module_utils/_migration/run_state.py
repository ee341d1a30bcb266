# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the guest runs. One that its operator paused arrives paused; only the migration's own stop is ours to lift.

The states are QEMU's RunState (qapi/run-state.json).
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

from .._host.endpoints import virsh
from .._host.qmp import GuestGone, Monitor
from .._libvirt import libvirt
from .errors import MigrationFailed
from .session import POLL_S, UNDO_S, Session
from .standing import MIGRATING, MOVABLE, PAUSED, RUNNING


def query(monitor: Monitor) -> str:
    """A side's RunState."""
    return str(monitor.execute("query-status")["status"])


def is_paused(monitor: Monitor) -> bool:
    """Whether a guest is paused. Only libvirt is asked, which costs the guest no time."""
    with monitor.translated():
        return bool(monitor.domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED)


def paused_by_operator(monitor: Monitor) -> bool:
    """Whether somebody paused the guest through libvirt, which tells that from the stop of a migration."""
    with monitor.translated():
        return bool(monitor.domain.state() == [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER])


def carry_over(session: Session) -> bool:
    """Before the switch, have the guest arrive as it is on the source: running or paused.

    :returns: whether the switch may be made.
    """
    state, keep = query(session.source), session.options.run_state == "keep"
    if state not in (*MOVABLE, *MIGRATING):
        session.now = replace(session.now, failure=f"the guest stopped on the source before the switch ({state})")
        return False
    paused = session.now.paused if state in MIGRATING else state == PAUSED
    if keep and paused != session.now.paused:
        session.destination.execute("stop" if paused else "cont")  # in INMIGRATE: whether to run after the switch
    session.now = replace(session.now, paused=paused)
    return True


def catch_up(session: Session) -> None:
    """After the switch, look once whether the operator paused the guest at the last moment."""
    if session.caught_up or not session.now.switched:
        return
    paused = session.now.paused
    with suppress(GuestGone):
        paused = paused or paused_by_operator(session.source)
    if paused and not session.now.paused and session.options.run_state == "keep" and not session.now.taken_over:
        session.destination.execute("stop")
    session.now, session.caught_up = replace(session.now, paused=paused), True


def settle(session: Session) -> None:
    """See that the guest at home runs, or is paused as its operator wanted; otherwise the call fails."""
    state, now = arrive(session), session.now
    session.readings.was_paused = now.paused
    if state in (RUNNING, None) or (state == PAUSED and now.paused):
        return
    if now.taken_over:
        why = f"it was found so on the destination ({state})"
    elif state == PAUSED and session.readings.time_of("destination", "RESUME") is None:
        why = "it arrived paused, because somebody stopped the waiting destination"
    else:
        why = f"it stopped on the destination after the switch ({state})"
    session.now = replace(now, failure=now.failure or f"the guest {session.options.name} does not run: {why}")


def arrive(session: Session) -> str | None:
    """The state of the guest on the destination, resumed if the call asks for that; None if its QEMU is gone."""
    destination, options = session.destination, session.options
    deadline_s = time.monotonic() + UNDO_S
    state: str | None = session.persist(lambda: query(destination))
    while state == "inmigrate" and time.monotonic() < deadline_s:  # its last page came before its main loop did
        session.log.sleep(POLL_S)
        state = session.persist(lambda: query(destination))
    if state == PAUSED and options.run_state == RUNNING:
        session.insist(lambda: destination.execute("cont"))
        session.readings.resumed, state = True, RUNNING
    if state == PAUSED:
        command = virsh(options.destination_uri, "resume", options.name)
        session.report(f"the guest {options.name} is paused on the destination: resume it with {command}")
    session.readings.run_state = state
    return state


def check(session: Session) -> None:
    """Make sure that the guest runs on the destination.

    :raises MigrationFailed: it does not.
    """
    destination = session.destination
    with suppress(GuestGone):  # whoever waits for the guest notices
        with destination.translated():
            runs = destination.domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
        state = RUNNING if runs else query(destination)
        if state != RUNNING:
            raise MigrationFailed(f"the guest {session.options.name} is not running ({state})")
