# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From the first byte to the last page: look, take the next step (steps.py), look again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from .._host import domain as domains
from .._host.qmp import ConnectionFailed, GuestGone, QmpError
from . import undo
from .errors import MigrationFailed
from .pace import Pace
from .phases import Phase
from .prepare import listen, push_bytes_per_s
from .session import LOOK_S, POLL_S, RETRY_S, Incoming, Session
from .steps import Situation, Step, next_step
from .working_set import WorkingSet

# How long one attempt to reconnect may take before the next one.
RECOVERY_S = 5.0
# How long half of the guest must seem gone before it is reported lost: a false alarm could cost the guest.
CERTAINTY_S = 1.0


def drive(session: Session) -> None:
    """Take one step after another until the guest is home and nothing of it is left on the source.

    :raises MigrationFailed: the guest is home but was not measured, or it is not home.
    """
    working_set = WorkingSet(session.readings.destination_channel, session.options.window_pages)
    actions: Mapping[Step, Callable[[Session], None]] = {
        Step.START: start,
        Step.SWITCH: switch,
        Step.RELEASE: release,
        Step.LIFT_QUOTA: undo.lift_quota,
        Step.PAUSE: pause,
        Step.RECOVER: recover,
    }
    last, acted_s = Step.WAIT, 0.0
    lost_since_s: float | None = None
    while True:
        try:
            session.now = look(session, working_set)
            step = next_step(session.now)
            if step is Step.FINISH:
                break
            if step is Step.ROLL_BACK:
                reason = session.now.failure or f"the migration failed before the switch: {_reason(session)}"
                undo.give_back(session)
                raise MigrationFailed(reason)
            lost_since_s = (lost_since_s or time.monotonic()) if step is Step.REPORT_LOST else None
            if lost_since_s is not None and time.monotonic() - lost_since_s > CERTAINTY_S:
                raise _lost(session)
            if step in actions and (step is not last or time.monotonic() - acted_s > RETRY_S):
                last, acted_s = step, time.monotonic()
                actions[step](session)
                continue
        except (ConnectionFailed, QmpError, GuestGone) as error:
            session.last_error = str(error)
        _check_deadline(session)
        _await_news(session, working_set)
    undo.lift_quota(session)
    session.readings.source_migrate = session.insist(lambda: session.answer(session.source)) or {}
    undo.end_source(session)
    if session.now.failure is not None:
        raise MigrationFailed(session.now.failure)


def look(session: Session, working_set: WorkingSet) -> Situation:
    """The situation as both hosts report it now."""
    source = session.answer(session.source)
    now = replace(
        session.now,
        source=None if source is None else source.get("status", "none"),
        destination=session.status(session.destination),
    )
    ram = (source or {}).get("ram", {})
    moved = now.source, now.destination, ram.get("transferred"), ram.get("remaining"), ram.get("postcopy-requests")
    requests = session.prefetch.requests_seen if session.prefetch is not None else ram.get("postcopy-requests", 0)
    switched = now.switched or not now.reversible
    patience_s = session.options.stall_timeout_s
    return replace(
        now,
        switched=switched,
        arrived=switched and working_set.arrived(requests),
        quiet_s=session.quiet.quiet_s(moved),
        patience_s=min(patience_s, RECOVERY_S) if now.phase is Phase.RECOVERING else patience_s,
    )


def start(session: Session) -> None:
    """Start the migration on the source.

    :raises MigrationFailed: the destination is not listening.
    """
    before_s = time.time()
    session.now = replace(session.now, started=True)
    if session.incoming is None:
        raise MigrationFailed("the destination is not listening")
    try:
        session.source.execute("migrate", uri=session.incoming.uri)
    except QmpError as error:
        session.now = replace(session.now, failure=str(error))
    session.log.measure_clock_offset(before_s, time.time())


def switch(session: Session) -> None:
    """Switch the source to post-copy."""
    session.now = replace(session.now, switching=True)  # even if the reply gets lost
    session.source.execute("migrate-start-postcopy")


def release(session: Session) -> None:
    """Release the background push."""
    session.source.execute("migrate-set-parameters", max_postcopy_bandwidth=push_bytes_per_s(session))
    session.now = replace(session.now, held=False)
    session.readings.released_s = time.monotonic()


def release_after_failure(session: Session) -> None:
    """Release the push, so that QEMU completes by itself what this call could not."""
    if session.now.switched and session.now.held:
        # An error is being raised already; if this fails too, the next call releases the push.
        with suppress(ConnectionFailed, GuestGone, QmpError):
            release(session)


def pause(session: Session) -> None:
    """Pause a stalled migration on both sides."""
    session.report("the migration stalled: pausing and recovering it")
    for monitor in (session.source, session.destination):
        with suppress(QmpError, GuestGone):  # already paused by the broken connection
            monitor.execute("migrate-pause")
    session.quiet.restart()


def recover(session: Session) -> None:
    """Reconnect both sides; if the link is still down, they end up paused again.

    QEMU docs/devel/migration/postcopy.rst, "Postcopy recovery".
    """
    session.readings.recoveries += 1
    uri, port = listen(session, "migrate-recover")
    if session.prefetch is not None and session.incoming is not None:
        session.incoming = Incoming(session.incoming.pid, port, uri)
        session.prefetch.attach(session.incoming.pid, port)
    session.source.execute("migrate", uri=uri, resume=True)
    session.quiet.restart()


def _reason(session: Session) -> str:
    return (session.answer(session.source) or {}).get("error-desc") or session.last_error or "no reason given"


def _lost(session: Session) -> MigrationFailed:
    if not session.now.switched:
        # The whole guest died with the source's QEMU; the QEMU waiting here has nothing of it.
        session.insist(lambda: domains.destroy(session.destination.domain))
        return MigrationFailed(f"the source's QEMU, with the guest {session.options.name}, ended before the switch")
    gone = "source" if session.now.source is None else "destination"
    return MigrationFailed(f"the guest's memory is lost: the {gone}'s QEMU ended during post-copy")


def _check_deadline(session: Session) -> None:
    """Head for home if the migration is cancelled or late.

    :raises MigrationFailed: even that has taken too long.
    """
    failure, timeout_s = session.now.failure, session.options.timeout_s
    late = time.monotonic() > session.deadline_s
    if session.cancellation.reason is not None and failure is None:
        failure = session.cancellation.reason
    elif late and failure is None:
        failure = f"the migration did not end within {timeout_s:g} s ({session.progress()})"
    elif not late:
        return
    else:
        text = f"{failure}, and the guest is not home after another {timeout_s:g} s"
        raise MigrationFailed(f"{text} ({session.progress()})")
    session.now = replace(session.now, failure=failure)
    session.deadline_s = time.monotonic() + timeout_s


def _await_news(session: Session, working_set: WorkingSet) -> None:
    """Sleep until an event arrives, the working set is here, or it is time to query QEMU again."""
    pace = Pace(LOOK_S)
    while not (session.log.sleep(POLL_S) or pace.due() or (session.now.awaits_working_set and working_set.walked())):
        pass
