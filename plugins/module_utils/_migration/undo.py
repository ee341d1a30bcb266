# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What puts back, gives back and ends; each may be repeated without harm."""

from __future__ import annotations

import time
from dataclasses import replace

from .._destination import quota
from .._host import domain as domains
from .._host.endpoints import virsh
from .._host.qmp import ConnectionFailed
from .._measure.instruments import throttled_s
from . import fitness
from .errors import MigrationFailed
from .session import UNDO_S, Session
from .standing import AT_WORK


def give_back(session: Session) -> None:
    """Let the source have the guest as it was; nothing of ours is left on the destination.

    :raises MigrationFailed: it has switched meanwhile. :raises ConnectionFailed: libvirt does not come back.
    """
    source, destination = session.source, session.destination

    def cancel() -> None:
        if session.status(source) in AT_WORK:
            source.execute("migrate_cancel")
        session.wait(
            lambda: session.status(source) not in AT_WORK, time.monotonic() + UNDO_S, "the cancellation", heed=False
        )
        if not source.execute("query-status")["running"]:
            status = session.status(source) or "gone"
            if status.startswith("postcopy") or (session.now.started and status == "completed"):
                # The destination has it: continued here, it would run twice.
                session.now = replace(session.now, switched=True)
                raise MigrationFailed(f"the guest switched while it was being given back (migration status {status})")
            if status in ("failed", "cancelled"):  # else somebody has paused it
                source.execute("cont")
        if session.before:
            fitness.put_back(source, session.before)

    def end_incoming() -> None:
        if destination.execute("query-status")["status"] == "inmigrate":
            domains.destroy(destination.domain)

    session.insist(cancel)
    session.insist(end_incoming)


def end_rest(session: Session) -> None:
    """End what is left of the guest on the source, which must not run again.

    :raises MigrationFailed: it runs on the source.
    """

    def end() -> None:
        if session.source.execute("query-status")["running"]:
            raise MigrationFailed(f"the guest {session.options.name} runs on the source although it has left it")
        domains.destroy(session.source.domain)

    session.insist(end)


def lift_quota(session: Session) -> None:
    """Lift the quota once.

    :raises MigrationFailed: libvirt does not come back, and the guest stays throttled.
    """
    if not session.now.throttled:
        return
    session.readings.throttled_s = throttled_s(session.readings.vcpu_threads)

    def lift() -> None:
        domain = session.destination.domain
        with session.destination.translated():
            quota.lift(domain)

    try:
        session.insist(lift)
    except ConnectionFailed as error:
        options = session.options
        command = virsh(options.destination_uri, "schedinfo", options.name, "--live", "vcpu_quota=-1")
        raise MigrationFailed(
            f"the guest {options.name} is still throttled, because {error}",
            advice=f"lift its quota with {command}, or run the same task again",
        ) from error
    session.now = replace(session.now, throttled=False)
    session.readings.quota_lifted_s = time.monotonic()
