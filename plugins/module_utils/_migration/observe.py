# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""After the last page: the fixed window for throughput, the memory check, and the final readings."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .._guest.telemetry import Channel
from .._host.memory import huge_pages_mb, thp_mode
from .._measure.instruments import Processors
from .._measure.moments import resumed_s
from .._measure.series import trace
from . import run_state
from .errors import MigrationFailed
from .pace import Pace
from .prepare import TELEMETRY_S
from .session import LOOK_S, Session
from .standing import PAUSED, RUNNING


def observe(session: Session) -> None:
    """Observe the guest on the destination until the window ends, then have it verify its memory.

    :raises MigrationFailed: cancelled, the guest is silent or stopped, or its QEMU ended.
    """
    readings, window_s = session.readings, session.options.observation_s
    channel, resumed = readings.destination_channel, resumed_s(readings)
    if channel is None or readings.run_state == PAUSED:
        return
    session.deadline_s = time.monotonic() + session.options.timeout_s + (window_s or 0)
    if window_s is not None and resumed is not None:
        end = resumed + window_s
        readings.observation_end_s = end
        # One more sample, so that the curve reaches the end of the window.
        _wait(
            session,
            lambda: time.monotonic() > end and bool(channel.samples) and channel.samples[-1].time_s >= end,
            max(end, time.monotonic()) + TELEMETRY_S,
            "the end of the observation window",
        )
    if session.options.verify:
        _verify(session, channel)


def collect(session: Session) -> None:
    """Read what is available only while the guest is running.

    :raises MigrationFailed: it no longer runs.
    """
    readings = session.readings
    answer = session.persist(lambda: session.answer(session.destination))
    if answer is None:
        ending = session.ending("destination")
        raise MigrationFailed(f"the destination's QEMU ended after the migration had completed{ending}")
    readings.destination_migrate = answer
    readings.processors_after = Processors.read()
    if readings.run_state == RUNNING:
        run_state.check(session)
    if session.incoming is not None:
        readings.huge_pages_mb = huge_pages_mb(session.incoming.pid)
    readings.thp = thp_mode()
    readings.connections_lost = [
        monitor.role for monitor in (session.source, session.destination) if monitor.host.connects > 1
    ]
    if session.prefetch is not None:
        zero_s, gzip = resumed_s(readings) or 0.0, session.options.files_dir is not None
        readings.trace = trace(session.prefetch.requests(), zero_s, gzip)
        readings.requests_seen = session.prefetch.requests_seen


def _wait(session: Session, condition: Callable[[], Any], deadline_s: float, what: str) -> None:
    """Wait for something that only a guest that runs can do."""
    pace = Pace(LOOK_S)

    def happened() -> Any:
        if pace.due():
            run_state.check(session)
        return condition()

    session.wait(happened, deadline_s, what, needs=(session.destination,))


def _verify(session: Session, channel: Channel) -> None:
    """Have the guest check its memory; ask again if the connection was lost before the answer came."""
    asked: Any = None

    def answered() -> Any:
        nonlocal asked
        if asked is not session.destination.domain:
            channel.send("verify")
            asked = session.destination.domain
        return channel.verified

    _wait(session, answered, time.monotonic() + session.options.timeout_s, "the guest's memory check")
    session.readings.verified = channel.verified[-1]
