# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One post-copy migration as a transaction, run on the destination host.

    prepare   the destination's QEMU, capabilities, quota, eBPF program; the baseline is watched
    drive     look, take the one next step (steps.py), look again, until the guest is home
    observe   the fixed window of throughput, memory verification
    undo      before the switch a failure leaves the guest running on the source

Whatever happens, the session's stack undoes: quota lifted, program gone. After the switch the only way is forward, and
every error looks at both hosts again before it says where the guest is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from .._destination import cpu_latency, quota
from .._destination.prefetch import PrefetchError
from .._host import domain as domains
from .._host.qmp import ConnectionFailed, GuestGone, QmpError
from .._measure.readings import Readings
from .._options import Options
from . import fitness
from .drive import drive, release_after_failure
from .errors import MigrationError, MigrationFailed
from .observe import collect, observe
from .prepare import baseline, prepare
from .session import Session
from .standing import Standing
from .undo import give_back


class Migration:
    """The transaction. Use ``run`` or ``check``; the module and the tests need nothing else.

    :param report: called with a line whenever something happens that an operator should hear of.
    """

    def __init__(self, options: Options, report: Callable[[str], None] = lambda _line: None) -> None:
        self._session = Session(options, report)

    def run(self) -> Readings:
        """Migrate, observe, verify.

        :raises MigrationError: it was refused, or failed; the text says where the guest is.
        :raises ConnectionFailed: one of the two libvirts cannot be reached.
        """
        with self._session as session, _reported(session), session.stack:
            stands = _stand(session)
            if stands is Standing.HOME:
                _stay(session)
            elif stands in (Standing.HALF, Standing.ENDED):
                _take_over(session)
            else:
                _migrate(session, left_over=stands is Standing.WAITING)
        return session.readings

    def check(self) -> bool:
        """What ``run`` checks before it touches anything; returns whether it would change anything.

        :raises MigrationError: as ``run``.
        """
        with self._session as session, _reported(session):
            return _stand(session) is not Standing.HOME


@contextmanager
def _reported(session: Session) -> Iterator[None]:
    """Say of every failure where the guest is, once all is undone."""
    try:
        yield
    except (MigrationFailed, ConnectionFailed, GuestGone, PrefetchError, QmpError) as error:
        raise session.failed(error) from error


def _stand(session: Session) -> Standing:
    """Where the guest stands, once it is sure that something can be done about it."""
    try:
        return fitness.stand(session.options, session.source, session.destination)
    except fitness.Unfit as error:
        raise MigrationError(str(error), error.phase) from error


def _stay(session: Session) -> None:
    """The guest is here; only a quota may be left of an earlier call."""
    session.readings.was_home = True
    session.readings.quota_left_over = bool(session.insist(lambda: quota.lift(session.destination.domain)))


def _take_over(session: Session) -> None:
    """Finish what an earlier call left half migrated, without the measurements that died with it."""
    session.report(f"the guest {session.options.name} is half migrated: bringing it home")
    session.readings.taken_over = True
    session.now = replace(session.now, started=True, switching=True, switched=True, held=True, taken_over=True)
    session.insist(lambda: quota.lift(session.destination.domain))
    drive(session)


def _migrate(session: Session, left_over: bool) -> None:
    bound = cpu_latency.bounded(session.options.cpu_latency_us)
    session.readings.cpu_latency_absent = session.stack.enter_context(bound)
    try:
        if left_over:
            session.report("an earlier call left the destination waiting: starting afresh")
            give_back(session)
        prepare(session)
        baseline(session)
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
        session.insist(lambda: domains.destroy(session.destination.domain))
