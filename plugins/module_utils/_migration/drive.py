# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From the first byte to the last page: look, take the next step (steps.py), look again."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from .._host.endpoints import has_arrived
from .._host.qmp import ConnectionFailed, GuestGone, NoAnswer, QmpError
from .._options import Options
from . import out_of_band, run_state, undo
from .errors import GuestLost, MigrationFailed
from .only_measuring import only_measuring
from .pace import Pace
from .phases import FAILED, Phase
from .prepare import listen, push_bytes_per_s
from .session import LOOK_S, POLL_S, RETRY_S, Incoming, Session
from .standing import PAUSED, RUNNING
from .steps import Situation, Step, next_step
from .working_set import WorkingSet

# How long one attempt to reconnect may take before the next one.
RECOVERY_S = 5.0
# How long a QEMU must seem gone before that is believed: a false alarm could cost the guest.
CERTAINTY_S = 1.0
# How long the source may take to connect: TCP tries again after 1 and 3 s.
CONNECT_S = 5.0


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
    started_s = time.monotonic()
    session.deadline_s = started_s + session.options.timeout_s
    session.give_up_s = started_s + (session.options.total_timeout_s or math.inf)
    last, acted_s = Step.WAIT, 0.0
    doubted_s: float | None = None
    while True:
        try:
            session.now = look(session, working_set)
            run_state.catch_up(session)
            step = next_step(session.now)
            if step is Step.FINISH:
                break
            # One wrong look must cost nobody a guest.
            doubtful = step is Step.REPORT_LOST or (step is Step.ROLL_BACK and None in session.now.sides)
            doubted_s = (doubted_s or time.monotonic()) if doubtful else None
            if doubted_s is None or time.monotonic() - doubted_s > CERTAINTY_S:
                if step is Step.REPORT_LOST:
                    raise _lost(session)
                if step is Step.ROLL_BACK:
                    reason = session.now.failure or _not_switched(session)
                    try:
                        undo.give_back(session)
                    except MigrationFailed as error:  # it may wait for a connection until TCP gives up
                        raise MigrationFailed(f"{reason}; moreover, {error}") from error
                    raise MigrationFailed(reason)
            if step in actions and (step is not last or time.monotonic() - acted_s > RETRY_S):
                last, acted_s = step, time.monotonic()
                actions[step](session)
                continue
        except (ConnectionFailed, QmpError, GuestGone) as error:
            session.last_error = str(error)
            _check_silence(session, error)
        _check_deadline(session)
        _await_news(session, working_set)
    try:
        undo.lift_quota(session)
    finally:
        run_state.settle(session)
        with only_measuring(session, "the source's statistics could not be read"):
            session.readings.source_migrate = session.insist(lambda: session.answer(session.source)) or {}
        undo.end_source(session)
        session.dead_man.disarm("hold")
    if session.now.failure is not None:
        raise MigrationFailed(session.now.failure)


def look(session: Session, working_set: WorkingSet) -> Situation:
    """The situation as both hosts report it now."""
    source = session.answer(session.source)
    status = None if source is None else source.get("status", "none")
    now = session.now.seen(status, out_of_band.destination_status(session, status))
    ram = (source or {}).get("ram", {})
    moved = now.source, now.destination, ram.get("transferred"), ram.get("remaining"), ram.get("postcopy-requests")
    requests = session.prefetch.requests_seen if session.prefetch is not None else ram.get("postcopy-requests", 0)
    left = None if source is None else source.get("remaining", ram.get("remaining"))
    if now.switched and session.left.fell(left):
        session.deadline_s = time.monotonic() + session.options.timeout_s
    now = replace(now, arrived=now.switched and working_set.arrived(requests), quiet_s=session.quiet.quiet_s(moved))
    return replace(now, patience_s=min(session.options.stall_timeout_s, _patience_s(session, now)))


def _patience_s(session: Session, now: Situation) -> float:
    """How long this phase may take at most without any progress."""
    if now.phase is Phase.RECOVERING:
        return RECOVERY_S
    return CONNECT_S if now.quiet_s > CONNECT_S and _unanswered(session, now) else math.inf


def _unanswered(session: Session, now: Situation) -> bool:
    """Whether the source still tries to connect, and nothing of that has arrived here."""
    incoming = session.incoming
    return now.source == "setup" and incoming is not None and not has_arrived(incoming.port)


def start(session: Session) -> None:
    """Start the migration on the source.

    :raises MigrationFailed: the destination is not listening.
    :raises MigrationError: another call has taken the guest over.
    """
    undo.check_owner(session)
    before_s = time.monotonic()
    session.now = replace(session.now, started=True)
    if session.incoming is None:
        raise MigrationFailed("the destination is not listening")
    try:
        session.source.execute("migrate", uri=session.incoming.uri)
    except QmpError as error:
        session.now = replace(session.now, failure=str(error))
    session.log.measure_clock_offset(before_s, time.monotonic())


def switch(session: Session) -> None:
    """Switch the source to post-copy; the guest arrives as it is, running or paused."""
    if not run_state.carry_over(session):
        return
    session.now = replace(session.now, switching=True)  # even if the reply gets lost
    if session.readings.switch_requested_s is None:
        session.readings.switch_requested_s = time.monotonic()
        session.readings.events_before_switch = len(session.readings.events)
    if session.now.held:
        with suppress(OSError):  # prepare.py has said so
            session.dead_man.arm("hold", run=release_command(session.options, push_bytes_per_s(session)))
    session.source.execute("migrate-start-postcopy")


def release(session: Session) -> None:
    """Release the background push."""
    session.source.execute("migrate-set-parameters", max_postcopy_bandwidth=push_bytes_per_s(session))
    session.now = replace(session.now, held=False)
    session.dead_man.disarm("hold")
    session.readings.released_s = time.monotonic()


def release_command(options: Options, bytes_per_s: int) -> list[str]:
    """The command that releases the push when this process no longer can."""
    arguments = {"max-postcopy-bandwidth": bytes_per_s}
    request = json.dumps({"execute": "migrate-set-parameters", "arguments": arguments})
    return ["virsh", "-c", options.source_uri, "qemu-monitor-command", "--domain", options.name, request]


def release_after_failure(session: Session) -> None:
    """Release the push, so that QEMU completes by itself what this call could not."""
    if session.now.switched and session.now.held:
        # An error is being raised already; if this fails too, the next call releases the push.
        with suppress(ConnectionFailed, GuestGone, QmpError):
            release(session)


def pause(session: Session) -> None:
    """Pause a stalled migration on both sides."""
    session.report("the migration stalled: pausing and recovering it")
    for pause_side in (lambda: session.source.execute("migrate-pause"), lambda: out_of_band.pause(session)):
        with suppress(QmpError, GuestGone):  # already paused by the broken connection
            pause_side()
    session.quiet.restart()


def recover(session: Session) -> None:
    """Reconnect both sides; if the link is still down, they end up paused again.

    QEMU docs/devel/migration/postcopy.rst, "Postcopy recovery".
    """
    session.readings.recoveries += 1
    uri, port = out_of_band.listen_again(session) if session.oob else listen(session, "migrate-recover")
    if session.prefetch is not None and session.incoming is not None:
        session.incoming = Incoming(session.incoming.pid, port, uri)
        with only_measuring(session, "prefetching was not in force after a recovery"):
            session.prefetch.attach(session.incoming.pid, port)
    session.source.execute("migrate", uri=uri, resume=True)
    session.quiet.restart()


def _not_switched(session: Session) -> str:
    """Why the guest did not even switch: QEMU failed, or waits for something, such as a connection."""
    options = session.options
    if session.now.phase is Phase.FAILED:
        text = f"the migration failed before the switch: {_reason(session)}"
        advice = "the log of the destination's QEMU says so if it refused the source's certificate"
        return f"{text} ({advice})" if options.method.tls else text
    if _unanswered(session, session.now) and session.incoming is not None:
        return (
            f"the source cannot connect to {options.migration_address}, TCP port {session.incoming.port}, within "
            f"{min(CONNECT_S, options.stall_timeout_s):g} s: let the source reach ports {options.migration_ports} of "
            "that address (a firewall may drop them, here or on the way), or choose others with migration_ports"
        )
    text = f"the migration made no progress for {options.stall_timeout_s:g} s before the switch"
    return f"{text}: does {options.migration_address} answer the source? ({session.progress()})"


def _reason(session: Session) -> str:
    return (session.answer(session.source) or {}).get("error-desc") or session.last_error or "no reason given"


def _lost(session: Session) -> MigrationFailed:
    name, now = session.options.name, session.now
    state = session.persist(lambda: run_state.query(session.source))
    if state == RUNNING or (state == PAUSED and now.source in FAILED):
        undo.give_back(session)  # QEMU has taken it back: there, its memory is whole
        return MigrationFailed(f"the switch failed, and the source goes on with the guest {name}: {_reason(session)}")
    if state is None and not now.switched:
        undo.end_incoming(session)  # it has nothing of the guest
        return MigrationFailed(f"the guest {name} ended on the source before the switch{session.ending('source')}")
    gone = "source" if now.source is None else "destination"
    how = session.ending(gone)
    return GuestLost(f"the guest's memory is lost: the {gone}'s QEMU ended during post-copy{how}")


def _check_silence(session: Session, error: Exception) -> None:
    """End this call if it should and a host hangs: QEMU goes on by itself, and the next call sees to the rest.

    :raises MigrationFailed: it does.
    """
    if isinstance(error, NoAnswer) and session.over:
        reason = session.cancellation.reason or f"the migration made no progress for {session.options.timeout_s:g} s"
        raise MigrationFailed(f"{session.now.failure or reason} ({session.progress()})") from error


def _check_deadline(session: Session) -> None:
    """Head for home if the migration is cancelled, makes no progress, or is out of time.

    :raises MigrationFailed: even that makes no progress.
    """
    failure, timeout_s = session.now.failure, session.options.timeout_s
    now_s = time.monotonic()
    late = now_s > session.deadline_s
    if session.cancellation.reason is not None and failure is None:
        failure = session.cancellation.reason
    elif late and failure is None:
        failure = f"the migration made no progress for {timeout_s:g} s ({session.progress()})"
    elif now_s > session.give_up_s and failure is None:
        failure = f"the migration did not end within {session.options.total_timeout_s:g} s ({session.progress()})"
    elif not late:
        return
    else:
        text = f"{failure}, and the guest came no closer to home for another {timeout_s:g} s"
        raise MigrationFailed(f"{text} ({session.progress()})")
    session.now = replace(session.now, failure=failure)
    session.deadline_s = now_s + timeout_s


def _await_news(session: Session, working_set: WorkingSet) -> None:
    """Sleep until an event arrives, the working set is here, or it is time to query QEMU again."""
    pace = Pace(LOOK_S)
    while not (session.log.sleep(POLL_S) or pace.due() or (session.now.awaits_working_set and working_set.walked())):
        pass
