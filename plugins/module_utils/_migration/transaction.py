# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One post-copy migration as a transaction, run on the destination host.

    prepare   the destination's QEMU, capabilities, quota, eBPF program, baseline, and last its listener
    drive     look, take the next step (steps.py), look again, until the guest is home
    observe   the fixed window for throughput, memory verification
    undo      before the switch, a failure leaves the guest running on the source

Whatever happens, the session's stack lifts the quota and unloads the program. After the switch the only way is forward,
and every error takes a fresh look at both hosts before it says where the guest is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from .._destination import cpu_latency, quota
from .._destination.prefetch import PrefetchError
from .._host.qmp import ConnectionFailed, GuestGone, QmpError
from .._measure.readings import Readings
from .._options import Options
from . import fitness, journal, out_of_band, run_state, undo
from .drive import drive, release_after_failure
from .errors import MigrationError, MigrationFailed
from .observe import collect, observe
from .owner import Owner, busy, only_call, other_call
from .prepare import baseline, open_to_source, prepare
from .session import Session
from .standing import BUSY, Standing
from .undo import give_back


class Migration:
    """The transaction: ``run`` it, or only ``check`` it.

    :param report: called with a line for each event that an operator should know of.
    """

    def __init__(self, options: Options, report: Callable[[str], None] = lambda _line: None) -> None:
        self._session = Session(options, report)

    def run(self) -> Readings:
        """Migrate, observe, verify.

        :raises MigrationError: it was refused, or failed; the message says where the guest is.
        :raises ConnectionFailed: libvirt cannot be reached on one of the hosts.
        """
        name, owner = self._session.options.name, self._session.owner
        with self._session as session, only_call(name, owner), _reported(session), session.stack:
            _check_elsewhere(session)
            undo.put_back_left_over(session)
            standing = _assess(session)
            session.stack.callback(_sign_off, session)
            if standing is Standing.HOME:
                _stay(session)
            elif standing in (Standing.HALF, Standing.ENDED):
                _take_over(session)
            else:
                _migrate(session, left_over=standing is Standing.WAITING)
        return session.readings

    def check(self) -> bool:
        """Check what ``run`` checks before it touches anything.

        :returns: whether ``run`` would change anything.
        :raises MigrationError: it would be refused.
        :raises ConnectionFailed: libvirt cannot be reached on one of the hosts.
        """
        with self._session as session, _reported(session):
            _check_elsewhere(session)
            other, left_over = other_call(session.options.name), undo.left_over(session)
            if other is not None:
                session.report(str(other))
            if left_over:
                sides = " and ".join(monitor.role for monitor in left_over)
                session.report(f"an earlier call left settings or a quota in force on the {sides}: they are put back")
            return _assess(session) is not Standing.HOME or bool(left_over)


@contextmanager
def _reported(session: Session) -> Iterator[None]:
    """Add to every failure where the guest is, once all is undone."""
    try:
        yield
    except (MigrationFailed, ConnectionFailed, GuestGone, PrefetchError, QmpError) as error:
        raise session.failed(error) from error


def _assess(session: Session) -> Standing:
    """Where the guest stands, or an error that refuses the migration."""
    try:
        return fitness.assess(session.options, session.source, session.destination)
    except fitness.Unfit as error:
        raise MigrationError(str(error), error.phase) from error


def _check_elsewhere(session: Session) -> None:
    """Leave a guest alone that another host's call is just moving: that call's lock cannot be seen from here.

    :raises MigrationError: there is such a call.
    """

    def mover() -> Owner | None:
        note, status = journal.read(session.source), session.status(session.source) or "none"
        moving = status in BUSY or status.startswith("postcopy")
        return note.owner if note is not None and moving and note.owner.host != session.owner.host else None

    found = session.insist(mover)
    if found is not None:
        advice = "wait until it ends; if it was killed, run the same task again on that host"
        raise busy(session.options.name, found, advice)


def _sign_off(session: Session) -> None:
    """Remove the note of who migrated the guest; one that stays does no harm."""
    with suppress(ConnectionFailed, GuestGone, QmpError):
        if not journal.changed(session.destination):
            journal.put_back(session.destination)


def _stay(session: Session) -> None:
    """The guest is already here."""
    session.readings.was_home = True
    session.insist(lambda: out_of_band.left_over(session))
    run_state.arrive(session)


def _take_over(session: Session) -> None:
    """Complete a migration that an earlier call left half done; its measurements died with that call."""
    session.report(f"the guest {session.options.name} is half migrated: bringing it home")
    session.readings.taken_over = True
    session.now = replace(session.now, started=True, switching=True, switched=True, held=True, taken_over=True)
    session.insist(lambda: out_of_band.connect_again(session))
    with suppress(ConnectionFailed):  # libvirt cannot lift it from a guest whose main loop hangs
        session.insist(lambda: quota.lift(session.destination.domain))
    drive(session)
    session.insist(lambda: quota.lift(session.destination.domain))


def _migrate(session: Session, left_over: bool) -> None:
    bound = cpu_latency.bounded(session.options.cpu_latency_us)
    session.readings.cpu_latency_absent = session.stack.enter_context(bound)
    try:
        if left_over:
            session.report("an earlier call left the destination waiting: starting afresh")
            session.insist(lambda: out_of_band.left_over(session))
            give_back(session)
        prepare(session)
        baseline(session)
        open_to_source(session)
    except BaseException:
        give_back(session)
        raise
    try:
        drive(session)
    except BaseException:
        release_after_failure(session)
        raise
    observe(session)
    collect(session)
    if session.options.end_guest:
        session.insist(lambda: undo.end_guest(session, session.destination))
