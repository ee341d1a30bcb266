# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""After the last page: the fixed window for throughput, the memory check, and the final readings."""

from __future__ import annotations

import time
from typing import Any

from .._guest.telemetry import Channel
from .._host.memory import huge_pages_mb, thp_mode
from .errors import MigrationFailed
from .prepare import TELEMETRY_S
from .session import Session


def observe(session: Session) -> None:
    """Observe the guest on the destination until the window ends, then have it verify its memory.

    :raises MigrationFailed: cancelled, the guest is silent, or its QEMU ended.
    """
    readings, window_s = session.readings, session.options.observation_s
    channel, resumed = readings.destination_channel, readings.time_of("destination", "RESUME")
    if channel is None:
        return
    if window_s is not None and resumed is not None:
        end = resumed + window_s
        readings.observation_end_s = end
        # One more sample, so that the curve reaches the end of the window.
        session.wait(
            lambda: time.monotonic() > end and bool(channel.samples) and channel.samples[-1].time_s >= end,
            max(end, time.monotonic()) + TELEMETRY_S,
            "the end of the observation window",
            needs=(session.destination,),
        )
    if session.options.verify:
        _verify(session, channel)


def collect(session: Session) -> None:
    """Read what is available only while the guest is running.

    :raises MigrationFailed: it no longer is.
    """
    readings = session.readings
    answer = session.insist(lambda: session.answer(session.destination))
    if answer is None:
        raise MigrationFailed("the destination's QEMU ended after the migration had completed")
    readings.destination_migrate = answer
    if session.incoming is not None:
        readings.huge_pages_mb = huge_pages_mb(session.incoming.pid)
    readings.thp = thp_mode()
    readings.connections_lost = [
        monitor.role for monitor in (session.source, session.destination) if monitor.host.connects > 1
    ]
    if session.prefetch is not None:
        readings.requests = list(session.prefetch.requests())
        readings.requests_seen = session.prefetch.requests_seen


def _verify(session: Session, channel: Channel) -> None:
    """Have the guest check its memory; ask again if the connection was lost before the answer came."""
    asked: Any = None

    def answered() -> Any:
        nonlocal asked
        if asked is not session.destination.domain:
            channel.send("verify")
            asked = session.destination.domain
        return channel.verified

    session.wait(answered, session.deadline_s, "the guest's memory check", needs=(session.destination,))
    session.readings.verified = channel.verified[-1]
