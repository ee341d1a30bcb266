# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How the parts of a migration are undone; each function can be repeated without harm."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from .._destination import cgroup_quota, quota
from .._host import domain as domains
from .._host.endpoints import virsh
from .._host.qmp import ConnectionFailed, GuestGone, Monitor, NoAnswer, QmpError
from .._measure.instruments import throttled_s
from . import journal, owner
from .errors import MigrationFailed
from .phases import FAILED, has_switched, split
from .run_state import paused_by_operator, query
from .session import UNDO_S, Session
from .standing import BUSY, ENDING, MIGRATING, RUNNING


def give_back(session: Session) -> None:
    """Give the guest back to the source as it was, and leave nothing of ours on the destination.

    A cancellation can race with the switch. The destination is therefore kept from running the guest first.

    :raises MigrationFailed: it has switched in the meantime.
    :raises MigrationError: another call has taken it over.
    :raises ConnectionFailed: libvirt does not come back.
    """
    source = session.source
    whole, may_end = False, not session.now.started
    # Whether the switch was requested, by this call or, for all it knows, by one that was killed.
    racing = session.now.switching or not session.claimed

    def cancel() -> bool:
        status = session.status(source)
        if status is None:
            raise GuestGone(f"the guest {session.options.name} is gone from the source")
        if status in BUSY:
            if racing:
                session.persist(partial(session.destination.execute, "stop"))
                _refuse_if_switched(session)
            if session.status(source) in BUSY - ENDING:
                source.execute("migrate_cancel")
        session.wait(
            lambda: session.status(source) not in BUSY, time.monotonic() + UNDO_S, "the cancellation", cancellable=False
        )
        state = query(source)
        if state != RUNNING:
            _refuse_if_switched(session)
            # The migration's own stop is ours to lift, its operator's is not.
            ours = state in MIGRATING and not (session.now.paused or paused_by_operator(source))
            if ours and session.status(source) in FAILED:
                source.execute("cont")
        return True

    def keep() -> None:
        nonlocal whole, may_end
        whole = bool(session.persist(cancel))
        may_end = True

    def end() -> None:
        if may_end:
            end_incoming(session, whole)

    session.insist(partial(check_owner, session))
    in_turn(keep, partial(session.insist, partial(journal.put_back, source)), end)
    session.claimed = False


def in_turn(*steps: Callable[[], Any]) -> None:
    """Take every step, even if a host refuses or cannot answer those before it.

    :raises QmpError: the first step that failed was refused.
    :raises ConnectionFailed: the first step that failed was not answered.
    """
    errors = []
    for step in steps:
        try:
            step()
        except (ConnectionFailed, QmpError) as error:
            errors.append(error)
    if errors:
        raise errors[0]


def check_owner(session: Session) -> None:
    """Step back if a call on another host has taken the guest over: the source is no longer ours to touch.

    :raises MigrationError: it has; the message names that call.
    """
    if not session.claimed:
        return
    try:
        note = journal.read(session.source)
    except GuestGone:
        return
    if note is None or note.owner != session.owner:
        end_incoming(session)
        advice = "it took the guest over from this call, and says where the guest is"
        raise owner.busy(session.options.name, None if note is None else note.owner, advice)


def put_back_left_over(session: Session) -> None:
    """Put back what killed calls changed on the guest's QEMUs, wherever the guest is whole."""
    for monitor in (session.source, session.destination):
        if not session.insist(partial(_is_whole, monitor)):
            continue
        if session.insist(partial(journal.put_back, monitor)):
            session.report(f"put back the {monitor.role}'s migration settings, which an earlier call had left changed")
            session.readings.settings_left_over = True
        if session.insist(partial(_lift, monitor)):
            session.readings.quota_left_over = True


def left_over(session: Session) -> list[Monitor]:
    """The sides on which ``put_back_left_over`` has something to do."""

    def has_some(monitor: Monitor) -> bool:
        domain = monitor.domain
        with monitor.translated():
            return journal.changed(monitor) or domains.read_note(domain, domains.QUOTA_NOTE) is not None

    return [
        monitor
        for monitor in (session.source, session.destination)
        if session.insist(partial(_is_whole, monitor)) and session.insist(partial(has_some, monitor))
    ]


def _is_whole(monitor: Monitor) -> bool:
    """Whether a side has the whole guest, and does not move it. One that hangs may be half of it."""
    try:
        migration = monitor.execute("query-migrate").get("status", "none")
        run_state = monitor.execute("query-status")["status"]
    except NoAnswer:
        return False
    return not (migration in BUSY or split(migration)) and run_state not in ("inmigrate", *MIGRATING)


def _lift(monitor: Monitor) -> bool:
    domain = monitor.domain
    with monitor.translated():
        return quota.lift(domain)


def end_incoming(session: Session, source_is_whole: bool = False) -> None:
    """End the destination's QEMU, if it only waits, or has a half that the source does not need."""
    destination = session.destination

    def end() -> bool:
        waits = query(destination) == "inmigrate"
        if waits or (source_is_whole and split(session.status(destination))):
            end_guest(session, destination)
        return True

    session.persist(end)


def _refuse_if_switched(session: Session) -> None:
    """Make sure that the guest's whole state is still on the source.

    :raises MigrationFailed: the destination has it: resumed on the source, it would run twice.
    """
    status, received = session.status(session.source), session.status(session.destination)
    handed_over = session.now.started and status == "completed" and query(session.source) in MIGRATING
    if not (split(status) or handed_over or (status in BUSY and has_switched(status, received))):
        return
    session.now = replace(session.now, switched=True)
    if not (session.now.paused or paused_by_operator(session.source)):
        session.persist(partial(session.destination.execute, "cont"))  # it may be we who stopped it
    raise MigrationFailed(f"the guest switched while it was being given back (migration status {status or 'gone'})")


def end_source(session: Session) -> None:
    """End what is left of the guest on the source, which must not run again.

    :raises MigrationFailed: it runs on the source.
    """

    def end() -> bool:
        if query(session.source) == RUNNING:
            raise MigrationFailed(f"the guest {session.options.name} still runs on the source after its migration")
        end_guest(session, session.source)
        return True

    session.persist(end)


def end_guest(session: Session, monitor: Monitor) -> None:
    """End a side's QEMU, once its telemetry is no longer listened to (`Channel.close`)."""
    readings = session.readings
    channel = readings.source_channel if monitor is session.source else readings.destination_channel
    if channel is not None:
        channel.close()
    domains.destroy(monitor.domain)


def lift_quota(session: Session) -> None:
    """Lift the quota once.

    :raises MigrationFailed: libvirt does not come back, and the guest stays throttled.
    """
    if not session.now.throttled:
        return
    session.readings.throttled_s = throttled_s(session.readings.vcpu_threads)

    lifted = False

    def lift() -> None:
        nonlocal lifted
        try:
            _lift(session.destination)
        except ConnectionFailed:  # the guest need not wait for libvirt
            lifted = lifted or cgroup_quota.restore(session.limits_before)
            raise

    try:
        session.insist(lift)
    except ConnectionFailed as error:
        if not lifted:
            options = session.options
            command = virsh(options.destination_uri, "schedinfo", options.name, "--live", "vcpu_quota=-1")
            raise MigrationFailed(
                f"the guest {options.name} is still throttled, because {error}",
                advice=f"lift its quota with {command}, or run the same task again",
            ) from error
        session.report(f"the quota is lifted in the guest's cgroups only, because {error}")
    session.now = replace(session.now, throttled=False)
    session.dead_man.disarm("quota")
    session.readings.quota_lifted_s = time.monotonic()
