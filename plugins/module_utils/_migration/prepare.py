# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything before the migration starts: the destination's QEMU, capabilities, prefetching, quota, baseline."""

from __future__ import annotations

import time
from dataclasses import replace

from .._destination import quota
from .._destination.prefetch import Prefetch, PrefetchError
from .._guest.telemetry import Channel, has_channel
from .._host import domain as domains
from .._host.qmp import Monitor, QmpError
from .._libvirt import libvirt
from .._measure.instruments import SchedStat, process_of
from . import fitness, undo
from .errors import MigrationFailed
from .session import Incoming, Session

# QEMU switches to post-copy from within an iteration of pre-copy. At this rate, pre-copy moves next to nothing first:
# the paper's post-copy transfers the CPU state before any memory.
PRECOPY_BYTES_PER_S = 256 * 1024
# Background push during demand paging; pages that the guest waits for take the preempt channel and are not limited.
HOLD_BYTES_PER_S = 4096
# On a busy host, a guest that was just restored takes seconds to send its first line.
TELEMETRY_S = 30.0
MIB = 1 << 20
# Room in the request trace beyond one request per page: pages are requested again after a recovery.
SPARE_ENTRIES = 65536


def prepare(session: Session) -> None:
    """Do everything that can fail without touching the guest.

    :raises MigrationFailed: a host cannot do what is requested.
    :raises PrefetchError: prefetching is unavailable.
    """
    source, destination, readings = session.source, session.destination, session.readings
    session.before = fitness.migration_settings(source)
    with source.translated():
        quota.lift(source.domain)  # left by a killed migration to that host
        xml = source.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE)
    try:
        destination.host.connection().createXML(domains.incoming_xml(xml), libvirt.VIR_DOMAIN_START_PAUSED)
    except libvirt.libvirtError as error:
        raise MigrationFailed(f"the destination cannot hold the guest {session.options.name}: {error}") from error
    destination.look_up()
    _configure(session)
    uri, port = listen(session, "migrate-incoming")
    destination.execute("cont")  # in INMIGRATE: run after the switch
    readings.vcpu_threads = tuple(cpu["thread-id"] for cpu in destination.execute("query-cpus-fast"))
    session.incoming = Incoming(process_of(readings.vcpu_threads[0]), port, uri)
    _load_prefetch(session, session.incoming)
    _throttle(session)
    if has_channel(xml):
        readings.source_channel = _open_channel(session, source)
        readings.destination_channel = _open_channel(session, destination)
    readings.sched = session.stack.enter_context(SchedStat(readings.vcpu_threads))


def baseline(session: Session) -> None:
    """Observe the guest on the source, for a rate to measure its slow-down against.

    :raises MigrationFailed: cancelled, the guest is silent, or a QEMU ended.
    """
    channel, needed_s = session.readings.source_channel, session.options.baseline_s
    if needed_s <= 0 or channel is None:
        return
    session.wait(
        lambda: channel.samples and channel.samples[-1].time_s - channel.samples[0].time_s > needed_s,
        time.monotonic() + needed_s + TELEMETRY_S,
        "the baseline: is the guest's workload running? If not, rebuild the saved states (playbooks/guest.yml)",
        needs=(session.source, session.destination),
    )


def listen(session: Session, command: str) -> tuple[str, int]:
    """Make the destination listen on a port that the kernel chooses; returns the URI to connect to, and the port."""
    address = session.options.migration_address
    host = f"[{address}]" if ":" in address else address
    session.destination.execute(command, uri=f"tcp:{host}:0")
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
    session.now = replace(session.now, held=method.holds_push)
    source.execute(
        "migrate-set-parameters",
        max_bandwidth=PRECOPY_BYTES_PER_S,
        max_postcopy_bandwidth=HOLD_BYTES_PER_S if method.holds_push else push_bytes_per_s(session),
    )


def _open_channel(session: Session, monitor: Monitor) -> Channel:
    channel = Channel(monitor.role)
    session.stack.callback(channel.close)
    with monitor.translated():
        monitor.follow(channel.open)
    return channel


def _load_prefetch(session: Session, incoming: Incoming) -> None:
    """Load the program for prefetching and the request trace. A method without prefetching can do without both."""
    options = session.options
    try:
        blocks = fitness.blocks(session.source)
        entries = sum(block.used_bytes // block.page_bytes for block in blocks) + SPARE_ENTRIES
        program = Prefetch(options.prefetch_program, blocks, options.method.policy, entries)
        session.stack.enter_context(program).attach(incoming.pid, incoming.port)
        session.prefetch = program
    except PrefetchError as error:
        if options.method.prefetches:
            raise PrefetchError(f"prefetching needs eBPF on the destination: {error}") from error
        session.readings.prefetch_absent = str(error)


def _throttle(session: Session) -> None:
    method = session.options.method
    if method.throttles:
        session.stack.callback(undo.lift_quota, session)
        session.now = replace(session.now, throttled=True)  # even if only some vCPUs get it
        with session.destination.translated():
            quota.throttle(session.destination.domain, method.vcpu_quota_percent, method.vcpu_period_us)
