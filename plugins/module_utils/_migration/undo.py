# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How the parts of a migration are undone; each function can be repeated without harm."""

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
from .standing import BUSY


def give_back(session: Session) -> None:
    """Give the guest back to the source as it was, and leave nothing of ours on the destination.

    :raises MigrationFailed: it has switched in the meantime.
    :raises ConnectionFailed: libvirt does not come back.
    """
    source, destination = session.source, session.destination

    def cancel() -> None:
        if session.status(source) in BUSY:
            source.execute("migrate_cancel")
        session.wait(
            lambda: session.status(source) not in BUSY, time.monotonic() + UNDO_S, "the cancellation", cancellable=False
        )
        if not source.execute("query-status")["running"]:
            status = session.status(source) or "gone"
            if status.startswith("postcopy") or (session.now.started and status == "completed"):
                # The destination has the guest: resumed here, it would run twice.
                session.now = replace(session.now, switched=True)
                raise MigrationFailed(f"the guest switched while it was being given back (migration status {status})")
            if status in ("failed", "cancelled"):  # otherwise somebody has paused it
                source.execute("cont")
        if session.before:
            fitness.restore(source, session.before)

    def end_incoming() -> None:
        if destination.execute("query-status")["status"] == "inmigrate":
            domains.destroy(destination.domain)

    session.insist(cancel)
    session.insist(end_incoming)


def end_source(session: Session) -> None:
    """End what is left of the guest on the source, which must not run again.

    :raises MigrationFailed: it runs on the source.
    """

    def end() -> None:
        if session.source.execute("query-status")["running"]:
            raise MigrationFailed(f"the guest {session.options.name} still runs on the source after its migration")
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
