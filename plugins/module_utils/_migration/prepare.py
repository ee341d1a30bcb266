# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything before the migration starts: the destination's QEMU, capabilities, prefetching, quota, baseline."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from .._destination import cgroup_quota, quota
from .._destination.prefetch import Block, Prefetch, PrefetchError
from .._guest.telemetry import Channel, has_channel
from .._host.qmp import Monitor, QmpError
from .._libvirt import libvirt
from .._measure.instruments import Processors, SchedStat, process_of
from .._measure.series import TRACE_MAX
from . import encryption, fitness, journal, out_of_band, run_state, undo
from .errors import MigrationFailed
from .only_measuring import only_measuring
from .pace import Pace
from .session import LOOK_S, Incoming, Session

# QEMU switches to post-copy from within an iteration of pre-copy. At this rate, pre-copy moves next to nothing first:
# the paper's post-copy transfers the CPU state before any memory.
PRECOPY_BYTES_PER_S = 256 * 1024
# Background push during demand paging; pages that the guest waits for take the preempt channel and are not limited.
HOLD_BYTES_PER_S = 4096
# On a busy host, a guest that was just restored takes seconds to send its first line.
TELEMETRY_S = 30.0
# A listener that hears nothing for that long is replaced: after a pause in which its predecessor left, QEMU tells the
# first one nothing.
SILENCE_S = 5.0
MIB = 1 << 20
# Room in the request trace beyond one request per page: pages are requested again after a recovery.
SPARE_ENTRIES = 65536


def prepare(session: Session) -> None:
    """Do everything that can fail without touching the guest.

    :raises MigrationFailed: a host cannot do what is requested.
    :raises PrefetchError: prefetching is unavailable.
    """
    source, destination, readings = session.source, session.destination, session.readings
    journal.claim(source, session.owner)
    session.claimed = True
    with source.translated():
        xml = source.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE)
    try:
        out_of_band.start(session, xml)
    except libvirt.libvirtError as error:
        raise MigrationFailed(f"the destination cannot hold the guest {session.options.name}: {error}") from error
    destination.look_up()
    journal.sign(destination, session.owner)
    _configure(session)
    destination.execute("cont")  # in INMIGRATE: run after the switch
    readings.vcpu_threads = tuple(cpu["thread-id"] for cpu in destination.execute("query-cpus-fast"))
    _load_prefetch(session)
    _throttle(session)
    if has_channel(xml):
        readings.source_channel = _open_channel(session, source)
        readings.destination_channel = _open_channel(session, destination)
    readings.sched = session.stack.enter_context(SchedStat(readings.vcpu_threads))
    readings.processors_before = Processors.read()


def baseline(session: Session) -> None:
    """Observe the guest on the source, for a rate to measure its slow-down against.

    :raises MigrationFailed: cancelled, the guest is silent, or a QEMU ended.
    :raises MigrationError: another call has taken the guest over.
    """
    _set_work(session)
    channel, needed_s = session.readings.source_channel, session.options.baseline_s
    if needed_s <= 0 or channel is None:
        return
    begun_s, pace, silence = time.monotonic(), Pace(LOOK_S), Pace(SILENCE_S)

    def observed() -> bool:
        if pace.due():
            undo.check_owner(session)
        if not channel.samples and silence.due():
            channel.open(session.source.domain)
        if channel.samples and channel.samples[-1].time_s - channel.samples[0].time_s > needed_s:
            return True
        return time.monotonic() > begun_s + needed_s and run_state.is_paused(session.source)

    session.wait(
        observed,
        begun_s + needed_s + TELEMETRY_S,
        "the baseline",
        needs=(session.source, session.destination),
        advice="is the guest's workload running? If not, rebuild the saved states (playbooks/guest.yml)",
    )


def _set_work(session: Session) -> None:
    """Tell the guest how much its workload has to do, over the channel that it then goes on reporting on.

    :raises MigrationFailed: cancelled, the guest does not answer, or a QEMU ended.
    """
    channel, words = session.readings.source_channel, session.options.work_words
    if words is None:
        return
    if channel is None:
        raise MigrationFailed("work_words: the guest has no telemetry channel, over which it would be told")
    asked_s = -math.inf

    def told() -> bool:
        nonlocal asked_s
        now_s = time.monotonic()
        if channel.words != words and now_s - asked_s > SILENCE_S:
            if asked_s > -math.inf:
                channel.open(session.source.domain)
            channel.send(f"work {words}")
            asked_s = now_s
        return channel.words == words

    session.wait(
        told,
        time.monotonic() + TELEMETRY_S,
        "the guest to change its work",
        needs=(session.source, session.destination),
        advice="is the guest's workload running? If not, rebuild the saved states (playbooks/guest.yml)",
    )


def open_to_source(session: Session) -> None:
    """Have the destination listen, now that the source connects at once: until then, nobody else could either.

    :raises MigrationFailed: it cannot.
    :raises PrefetchError: prefetching is unavailable.
    """
    uri, port = first_listener(session)
    session.incoming = Incoming(process_of(session.readings.vcpu_threads[0]), port, uri)
    with _dispensable(session):
        if session.prefetch is not None:
            session.prefetch.attach(session.incoming.pid, port)


def first_listener(session: Session) -> tuple[str, int]:
    """Make the destination listen for the first time; returns the URI to connect to, and the port.

    :raises MigrationFailed: it cannot.
    """
    options = session.options
    try:
        return listen(session, "migrate-incoming")
    except QmpError as error:
        raise MigrationFailed(
            f"QEMU cannot listen on {options.migration_address}, TCP ports {options.migration_ports}: {error}. Choose "
            "other ports with migration_ports"
        ) from error


def listen(session: Session, command: str) -> tuple[str, int]:
    """Make the destination listen on the first port that is free; returns the URI to connect to, and the port.

    :raises QmpError: none is.
    """
    address, ports = session.options.migration_address, session.options.ports
    host = f"[{address}]" if ":" in address else address
    session.destination.execute(command, uri=f"tcp:{host}:{ports[0]},to={ports[-1]}")
    port = int(session.destination.execute("query-migrate")["socket-address"][-1]["port"])
    return f"tcp:{host}:{port}", port


def push_bytes_per_s(session: Session) -> int:
    """QEMU's max-postcopy-bandwidth while the push is not held; 0 is unlimited."""
    return round(session.options.method.max_postcopy_bandwidth_mb_per_s * MIB)


def _configure(session: Session) -> None:
    method, source, destination = session.options.method, session.source, session.destination
    for monitor in (source, destination):
        monitor.listen(session.log.add)
    try:
        for monitor in (source, destination):
            monitor.set_capabilities(postcopy_ram=True, events=True)
            monitor.set_capabilities(postcopy_preempt=method.preempt)
        destination.set_capabilities(postcopy_blocktime=True)
    except QmpError as error:
        hint = "Can QEMU use userfaultfd? Run playbooks/provision.yml on both hosts"
        raise MigrationFailed(f"{error}. {hint}") from error
    session.readings.capabilities = destination.capabilities()
    if method.tls:
        for monitor in (source, destination):
            encryption.encrypt(monitor, session.options.tls_dir, session.options.migration_address)
        session.readings.encrypted = all(map(encryption.in_use, (source, destination)))
    session.now = replace(session.now, held=method.holds_push)
    if method.holds_push:
        _guard(session, session.dead_man.start)  # here, where it takes no time from the guest
    source.execute(
        "migrate-set-parameters",
        max_bandwidth=PRECOPY_BYTES_PER_S,
        max_postcopy_bandwidth=HOLD_BYTES_PER_S if method.holds_push else push_bytes_per_s(session),
    )


def _open_channel(session: Session, monitor: Monitor) -> Channel:
    channel = Channel(monitor.role)
    session.stack.callback(channel.close)

    def listen_again(domain: Any) -> None:
        with only_measuring(session, f"the guest's telemetry from the {monitor.role} was lost"):
            channel.open(domain)

    with monitor.translated():
        monitor.follow(listen_again)
    return channel


def _load_prefetch(session: Session) -> None:
    """Load the program for prefetching and the request trace, unless TLS hides the requests from it."""
    options = session.options
    if options.method.tls:
        session.readings.prefetch_absent = "TLS hides page requests"
        return
    with _dispensable(session):
        blocks = fitness.blocks(session.source)
        program = Prefetch(options.prefetch_program, blocks, options.method.policy, trace_entries(blocks))
        session.prefetch = session.stack.enter_context(program)


@contextmanager
def _dispensable(session: Session) -> Iterator[None]:
    """Go on without the program where the method does not prefetch.

    :raises PrefetchError: it does.
    """
    try:
        yield
    except PrefetchError as error:
        if session.options.method.prefetches:
            raise PrefetchError(f"prefetching needs eBPF on the destination: {error}") from error
        session.prefetch = None
        session.readings.prefetch_absent = str(error)


def trace_entries(blocks: Iterable[Block]) -> int:
    """Requests that the trace can hold: each page once and some again, but no more than the kernel can spare."""
    return min(sum(block.used_bytes // block.page_bytes for block in blocks) + SPARE_ENTRIES, TRACE_MAX)


def _throttle(session: Session) -> None:
    method, readings = session.options.method, session.readings
    if not method.throttles:
        return
    session.stack.callback(undo.lift_quota, session)
    session.limits_before = cgroup_quota.limits(readings.vcpu_threads)
    _guard(session, lambda: session.dead_man.arm("quota", write=session.limits_before))
    session.now = replace(session.now, throttled=True)  # even if only some vCPUs get it
    with session.destination.translated():
        readings.tighter_quota = quota.throttle(
            session.destination.domain, method.vcpu_quota_percent, method.vcpu_period_us
        )
    if readings.tighter_quota is not None:
        session.dead_man.disarm("quota")
        session.now = replace(session.now, throttled=False)


def _guard(session: Session, action: Callable[[], None]) -> None:
    """Guard against a kill of this process; a migration can do without."""
    try:
        action()
    except OSError as error:
        session.report(f"if this call is killed, the quota and the hold stay until the next one: {error}")
