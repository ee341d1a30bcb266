# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One post-copy migration as a transaction, run on the destination host.

    prepare   destination QEMU waits, capabilities, quota, eBPF program; the guest runs on the source untouched
    transfer  pre-copy held down, switch, demand paging, release, completion; watched, paused and recovered if it stalls
    observe   the fixed window of throughput, memory verification

Whatever happens, ``finish`` undoes: quota lifted, program gone. Before the switch a failure leaves the guest running on
the source; after it the only way is forward, and an error says how to bring the guest home.
"""

from __future__ import annotations

import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from ansible_collections.vcsp.testbed.plugins.module_utils import cpu_latency, quota
from ansible_collections.vcsp.testbed.plugins.module_utils import domain as domains
from ansible_collections.vcsp.testbed.plugins.module_utils.instruments import (
    SchedStat,
    huge_pages_mb,
    process_of,
    throttled_s,
)
from ansible_collections.vcsp.testbed.plugins.module_utils.pace import Pace, Watch
from ansible_collections.vcsp.testbed.plugins.module_utils.phases import Phase, phase
from ansible_collections.vcsp.testbed.plugins.module_utils.prefetch import (
    Prefetch,
    PrefetchError,
    load_libbpf,
    parse_ramblocks,
)
from ansible_collections.vcsp.testbed.plugins.module_utils.qmp import Event, Monitor, QmpError, connect
from ansible_collections.vcsp.testbed.plugins.module_utils.readings import Readings, Settings
from ansible_collections.vcsp.testbed.plugins.module_utils.telemetry import Channel, has_channel

try:
    import libvirt
except ImportError:  # reported by qmp.py
    pass

# QEMU's switches to post-copy from within an iteration of pre-copy. Held down, pre-copy moves next to nothing first:
# the paper's post-copy transfers the CPU state before any memory.
PRECOPY_BYTES_PER_S = 256 * 1024
# Background push during demand paging; pages that the guest waits for take the preempt channel and are not held.
HOLD_BYTES_PER_S = 4096
UNLIMITED = 0
POLL_S = 0.25
# Without telemetry, a guest that asked for no page for this long has its working set.
QUIET_S = 1.0
# An attempt to connect anew may take this long, then comes the next one.
RECOVERY_S = 5.0
# An event that belongs to a command comes within this time.
EVENT_S = 2.0
# How often QEMU is asked while the guest walks its window.
LOOK_S = 0.5
MIN_QEMU_FOR_PREEMPT = 8
MAIN_BLOCK = "pc.ram"


class MigrationError(Exception):
    """A migration that did not go as asked.

    The message says the phase, the last progress, and what to do. ``phase`` says where the guest is.
    """

    def __init__(self, text: str, at: Phase) -> None:
        super().__init__(text)
        self.phase = at


class Cancelled(MigrationError):
    """A signal, or the controller's connection went away."""


class HalfMigrated(Exception):
    """Both hosts hold a half of the guest: an earlier call was killed during post-copy."""


class Migration:
    """The transaction. Use ``run``; the module and the tests need nothing else.

    :param report: called with a line whenever something happens that an operator should hear of.
    """

    def __init__(self, settings: Settings, report: Callable[[str], None] = lambda _line: None) -> None:
        self.settings, self.report = settings, report
        self.readings = Readings()
        self._stack = ExitStack()
        self._changed = threading.Condition()
        self._cancel: str | None = None
        self._deadline = time.monotonic() + settings.timeout_s + settings.baseline_s + (settings.observation_s or 0)
        self._realtime_to_monotonic = time.monotonic() - time.time()
        self._source: Monitor
        self._destination: Monitor
        self._prefetch: Prefetch | None = None
        self._started = False  # QEMU was told to migrate
        self._switched = False

    def run(self) -> Readings:
        """Migrate, observe, verify.

        :raise MigrationError: see there.
        :raise qmp.ConnectionFailed: one of the two libvirts cannot be reached.
        :raise PrefetchError: prefetching was asked for and cannot be had.
        """
        with self._stack:
            self._watch_for_cancellation()
            self._connect()
            bound = cpu_latency.bounded(self.settings.cpu_latency_us)
            self.readings.cpu_latency_absent = self._stack.enter_context(bound)
            try:
                self._prepare()
            except HalfMigrated:
                self._take_over()
                return self.readings
            try:
                self._baseline()
                self._transfer()
            except BaseException:
                self._come_home()
                raise
            self._observe()
            self._collect()
            if self.settings.end_guest:
                domains.destroy(self._destination.domain)
        return self.readings

    def check(self) -> None:
        """What ``run`` checks before it touches anything.

        :raise MigrationError: as ``run``.
        """
        with self._stack:
            self._connect()
            self._refuse_unfit()

    # -- prepare -----------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        settings = self.settings
        destination = connect(settings.destination_uri)
        self._stack.callback(destination.close)
        source = connect(settings.source_uri)
        self._stack.callback(source.close)
        self._connections = source, destination
        guest = domains.find(source, settings.name)
        if guest is None:
            raise self._refusal(f"no guest {settings.name} at {settings.source_uri}: start it there first")
        self._source = Monitor(guest, "source")

    def _prepare(self) -> None:
        """Everything that can fail without touching the guest."""
        self._refuse_unfit()
        quota.lift(self._source.domain)  # left by a killed migration to that host
        xml = self._source.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE)
        _source, destination = self._connections
        guest = destination.createXML(domains.incoming_xml(xml), libvirt.VIR_DOMAIN_START_PAUSED)
        self._destination = Monitor(guest, "destination")
        try:
            self._configure(has_channel(xml))
        except BaseException:
            domains.destroy(guest)
            raise

    def _refuse_unfit(self) -> None:
        """Refuse a guest or hosts that cannot do what is asked.

        :raise HalfMigrated: the guest has to be brought home first.
        """
        settings = self.settings
        source, destination = self._connections
        existing = domains.find(destination, settings.name)
        if existing is not None:
            self._destination = Monitor(existing, "destination")
            at = phase(self._status(self._source), self._status(self._destination))
            if at in (Phase.POSTCOPY, Phase.PAUSED, Phase.RECOVERING):
                raise HalfMigrated()
            raise self._refusal(
                f"a guest {settings.name} exists on the destination already: destroy or rename it "
                f"('virsh -c {settings.destination_uri} destroy {settings.name}')"
            )
        if self._source.domain.state()[0] != libvirt.VIR_DOMAIN_RUNNING:
            raise self._refusal(f"the guest {settings.name} at {settings.source_uri} does not run; start or resume it")
        self._check_support(source, destination)

    def _check_support(self, source: Any, destination: Any) -> None:
        settings = self.settings
        if settings.transfer == "demand":
            for connection, where in ((source, "source"), (destination, "destination")):
                major = connection.getVersion() // 1_000_000
                if major < MIN_QEMU_FOR_PREEMPT:
                    raise self._refusal(
                        f"transfer: demand needs QEMU >= {MIN_QEMU_FOR_PREEMPT} (postcopy-preempt), the {where} has "
                        f"{major}: upgrade it, or use transfer: push"
                    )
        parameters = self._source.execute("query-migrate-parameters")
        if settings.prefetch_pages > 1:
            if parameters.get("tls-creds"):
                raise self._refusal("prefetch_pages > 1 cannot work with TLS: it hides page requests from the kernel")
            load_libbpf()
        if self._source.execute("query-migrate").get("status") in ("setup", "active", "device", "postcopy-active"):
            raise self._refusal(f"the guest {settings.name} is being migrated already; wait for its end")

    def _configure(self, telemetry: bool) -> None:
        settings = self.settings
        source, destination = self._source, self._destination
        for monitor in (source, destination):
            monitor.listen(self._on_event)
            self._stack.callback(monitor.close)
        preempt = settings.transfer == "demand"
        try:
            for monitor in (source, destination):
                monitor.set_capabilities(postcopy_ram=True, events=True)
                if preempt:
                    monitor.set_capabilities(postcopy_preempt=True)
            destination.set_capabilities(postcopy_blocktime=True)
        except QmpError as error:
            hint = "Can QEMU use userfaultfd? Run playbooks/provision.yml on both hosts"
            raise self._refusal(f"{error}. {hint}") from error
        self.readings.capabilities = destination.capabilities()
        source.execute(
            "migrate-set-parameters",
            max_bandwidth=PRECOPY_BYTES_PER_S,
            max_postcopy_bandwidth=HOLD_BYTES_PER_S if preempt else UNLIMITED,
        )
        self._uri = self._listen("migrate-incoming")
        destination.execute("cont")  # in INMIGRATE: run after the switch

        threads = tuple(cpu["thread-id"] for cpu in destination.execute("query-cpus-fast"))
        self.readings.vcpu_threads = threads
        self._load_prefetch(process_of(threads[0]))
        if settings.vcpu_quota_percent < 100:
            quota.throttle(destination.domain, settings.vcpu_quota_percent, settings.vcpu_period_us)
            self._stack.callback(self._lift_quota)
        if telemetry:
            # The newest channel closes first; both outlive the migration, and the source's ends with its QEMU.
            self.readings.source_channel = self._open_channel(source)
            self.readings.destination_channel = self._open_channel(destination)
        self.readings.sched = self._stack.enter_context(SchedStat(threads))

    def _open_channel(self, monitor: Monitor) -> Channel:
        channel = Channel(monitor.domain, monitor.host)
        self._stack.callback(channel.close)
        return channel

    def _listen(self, command: str) -> str:
        """Let the destination listen on a port that the kernel chooses; returns the URI to connect to."""
        address = self.settings.migration_address
        self._destination.execute(command, uri=f"tcp:{address}:0")
        listening = self._destination.execute("query-migrate")["socket-address"][-1]
        self._port = int(listening["port"])
        return f"tcp:{address}:{self._port}"

    def _load_prefetch(self, pid: int) -> None:
        """Prefetching, and the request trace. Without prefetching a host that cannot load it just has no trace."""
        settings = self.settings
        try:
            blocks = {block.name: block for block in parse_ramblocks(self._source.human("info ramblock"))}
            if MAIN_BLOCK not in blocks:
                raise PrefetchError(f"the guest has no RAMBlock {MAIN_BLOCK}, only {', '.join(blocks)}")
            block = blocks[MAIN_BLOCK]
            if settings.prefetch_pages > block.used_bytes // block.page_bytes:
                raise self._refusal(
                    f"prefetch_pages: {settings.prefetch_pages} pages are more than the guest has "
                    f"({block.used_bytes // block.page_bytes})"
                )
            entries = block.used_bytes // block.page_bytes + 65536
            program = Prefetch(settings.prefetch_program, block, settings.prefetch_pages, entries)
            self._prefetch = self._stack.enter_context(program)
            self._prefetch.attach(pid, self._port)
        except PrefetchError as error:
            if settings.prefetch_pages > 1:
                raise PrefetchError(f"prefetch_pages > 1 needs eBPF on the destination: {error}") from error
            self.readings.prefetch_absent = str(error)
        self._pid = pid

    # -- transfer ----------------------------------------------------------------------------------------------------

    def _baseline(self) -> None:
        """Watch the guest on the source, so that slow-down has something to be measured against."""
        channel, needed_s = self.readings.source_channel, self.settings.baseline_s
        if needed_s <= 0 or channel is None:
            return
        start_s = time.monotonic()
        self._wait(
            lambda: channel.samples and channel.samples[-1].time_s - channel.samples[0].time_s > needed_s,
            start_s + needed_s + 5,
            "the baseline: is the guest's workload running? If not, rebuild the saved states (playbooks/guest.yml)",
        )

    def _transfer(self) -> None:
        settings, source = self.settings, self._source
        self._started = True
        before = time.time()
        source.execute("migrate", uri=self._uri)
        self._measure_clock_offset(before, time.time())
        self._wait(lambda: self._phase() is not Phase.PREPARING, self._deadline, "the start of the migration")
        source.execute("migrate-start-postcopy")
        self._wait(self._is_switched, self._deadline, "the switch to post-copy")
        if not self._switched:
            self._refuse_end()
        if settings.transfer == "demand":
            self._hold()
            source.execute("migrate-set-parameters", max_postcopy_bandwidth=UNLIMITED)
            self.readings.released_s = time.monotonic()
        self._complete()

    def _is_switched(self) -> bool:
        at = self._phase()
        if not at.reversible:
            self._switched = True
        return self._switched or at is Phase.FAILED

    def _refuse_end(self) -> None:
        reason = self._source.execute("query-migrate").get("error-desc", "no reason given")
        raise MigrationError(
            f"the migration failed before the switch, the guest runs on the source: {reason}", Phase.FAILED
        )

    def _hold(self) -> None:
        """Demand paging until the working window was walked once, or the guest asks for no more pages."""
        resumed = self._wait(lambda: self._resumed_s(), self._deadline, "the guest's start on the destination")
        channel, pages = self.readings.destination_channel, self.settings.window_pages
        watch, look = Watch(QUIET_S), Pace(LOOK_S)

        def done() -> bool:
            samples = channel.samples if channel is not None else []
            # From the first line here on: any `pages` visits in a row touch the whole window.
            if samples and pages is not None and samples[-1].pages - samples[0].pages >= pages:
                return True
            if not look.due():
                return False
            if self._phase() is not Phase.POSTCOPY:
                return True
            return watch.quiet(self._requests_so_far()) and time.monotonic() - resumed > QUIET_S

        self._wait(done, self._deadline, "the walk of the working window", poll_s=0.05)

    def _requests_so_far(self) -> int:
        if self._prefetch is not None:
            return self._prefetch.requests_seen
        counted: int = self._source.execute("query-migrate").get("ram", {}).get("postcopy-requests", 0)
        return counted

    def _complete(self) -> None:
        """Wait for the last page; a stall is paused and recovered, as often as the deadline allows."""
        watch = Watch(self.settings.stall_timeout_s)

        def done() -> bool:
            at = self._phase()
            if at in (Phase.COMPLETED, Phase.LOST):
                return True
            return at is Phase.PAUSED or watch.quiet(self._progress())

        while True:
            self._wait(done, self._deadline, "the last page")
            at = self._phase()
            if at is Phase.COMPLETED:
                break
            if at is Phase.LOST:
                raise self._lost()
            self._recover()
            watch = Watch(self.settings.stall_timeout_s)
        self._lift_quota()
        self.readings.source_migrate = self._source.execute("query-migrate")

    def _progress(self) -> tuple[Any, ...]:
        try:
            ram = self._source.execute("query-migrate").get("ram", {})
        except libvirt.libvirtError:  # the source's QEMU is gone, as it is after the migration
            ram = {}
        return ram.get("transferred"), ram.get("remaining"), ram.get("postcopy-requests")

    def _recover(self) -> None:
        """Pause both sides and connect them anew; they are paused again afterwards if the link is still down.

        QEMU docs/devel/migration/postcopy.rst, "Postcopy recovery".
        """
        self.report("the migration stalled: pausing and recovering it")
        self.readings.recoveries += 1
        for monitor in (self._source, self._destination):
            try:
                monitor.execute("migrate-pause")
            except QmpError:  # paused already, by the broken connection itself
                pass
        self._wait(
            lambda: {self._status(self._source), self._status(self._destination)} == {"postcopy-paused"},
            self._deadline,
            "both sides to pause",
        )
        uri = self._listen("migrate-recover")
        if self._prefetch is not None:
            self._prefetch.attach(self._pid, self._port)
        give_up_s = time.monotonic() + RECOVERY_S
        self._source.execute("migrate", uri=uri, resume=True)
        self._wait(
            lambda: self._phase() not in (Phase.PAUSED, Phase.RECOVERING) or time.monotonic() > give_up_s,
            self._deadline,
            "the recovered connection",
        )

    # -- observe -----------------------------------------------------------------------------------------------------

    def _observe(self) -> None:
        settings, readings = self.settings, self.readings
        channel, resumed = readings.destination_channel, self._resumed_s()
        domains.destroy(self._source.domain)
        if settings.observation_s is not None and resumed is not None and channel is not None:
            end = resumed + settings.observation_s
            readings.observation_end_s = end
            # One more sample, so that the curve reaches the end of the window.
            self._wait(
                lambda: time.monotonic() > end and bool(channel.samples) and channel.samples[-1].time_s >= end,
                max(end, time.monotonic()) + 5,
                "the end of the observation window",
            )
        if settings.verify and channel is not None:
            channel.send("verify")
            self._wait(lambda: channel.verified, self._deadline, "the guest's memory check")
            readings.verified = channel.verified[-1]

    def _collect(self) -> None:
        readings = self.readings
        readings.huge_pages_mb = huge_pages_mb(self._pid)
        readings.destination_migrate = self._destination.execute("query-migrate")
        if self._prefetch is not None:
            readings.requests = list(self._prefetch.requests())
            readings.requests_seen = self._prefetch.requests_seen

    # -- the way home ------------------------------------------------------------------------------------------------

    def _take_over(self) -> None:
        """Finish what a killed call left half migrated, without the measurements that died with it."""
        self.report(f"the guest {self.settings.name} is half migrated: bringing it home")
        self.readings.taken_over = self._started = self._switched = True
        quota.lift(self._destination.domain)
        self._source.execute("migrate-set-parameters", max_postcopy_bandwidth=UNLIMITED)
        self._complete()
        domains.destroy(self._source.domain)

    def _come_home(self) -> None:
        """After a failure: back to the source if the guest never left it, else forward to the destination."""
        self._cancel = None  # from here on nothing may stop the way home
        at = self._phase()
        self._deadline = max(self._deadline, time.monotonic() + self.settings.timeout_s)
        if at.reversible and not self._switched:
            self._roll_back()
        elif at is Phase.LOST:
            if not self._switched:  # the source's QEMU died with the guest; what waits here has nothing of it
                domains.destroy(self._destination.domain)
        else:
            if at is not Phase.COMPLETED:
                self._source.execute("migrate-set-parameters", max_postcopy_bandwidth=UNLIMITED)
                self._complete()
            domains.destroy(self._source.domain)

    def _roll_back(self) -> None:
        source = self._source
        if self._status(source) in ("setup", "active", "device"):
            source.execute("migrate_cancel")
            going_on = ("setup", "active", "device", "cancelling")
            self._wait(lambda: self._status(source) not in going_on, self._deadline, "cancel")
        domains.destroy(self._destination.domain)
        if not source.execute("query-status")["running"]:
            source.execute("cont")

    def _lift_quota(self) -> None:
        """Lift the quota once; kept for ``finally`` in case that the migration never completes."""
        if self.settings.vcpu_quota_percent < 100 and self.readings.quota_lifted_s is None:
            self.readings.throttled_s = throttled_s(self.readings.vcpu_threads)
            try:
                quota.lift(self._destination.domain)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:  # a guest that is gone is not throttled
                    raise
            self.readings.quota_lifted_s = time.monotonic()

    # -- events, waiting ---------------------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        offset_s = 0.0
        if event.host == "source" and self.readings.clock_offset_s is not None:
            offset_s = self.readings.clock_offset_s[0]
        with self._changed:
            self.readings.events.append((event.realtime_s - offset_s + self._realtime_to_monotonic, event))
            self._changed.notify_all()

    def _measure_clock_offset(self, before_s: float, after_s: float) -> None:
        """The source's clock less ours: it stamped the start of the migration between these two times of ours."""

        def stamped_s() -> float | None:
            for _time, event in self.readings.events:
                if event.host == "source" and event.name == "MIGRATION" and event.data.get("status") == "setup":
                    return event.realtime_s
            return None

        with self._changed:
            # The event may come after the command's reply, but later ones of the source need the offset.
            self._changed.wait_for(stamped_s, timeout=EVENT_S)
            source_s = stamped_s()
            if source_s is not None:
                self.readings.clock_offset_s = (source_s - (before_s + after_s) / 2, (after_s - before_s) / 2)

    def _status(self, monitor: Monitor) -> str | None:
        """A side's MigrationStatus; None when its QEMU is gone."""
        try:
            status: str = monitor.execute("query-migrate").get("status", "none")
        except libvirt.libvirtError as error:
            if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
                return None
            raise
        return status

    def _phase(self) -> Phase:
        if not self._started:
            return Phase.PREPARING
        return phase(self._status(self._source), self._status(self._destination))

    def _resumed_s(self) -> float | None:
        return self.readings.time_of("destination", "RESUME")

    def _wait(self, condition: Callable[[], Any], deadline_s: float, what: str, poll_s: float = POLL_S) -> Any:
        """Wait until a condition holds; events wake it up, and it is polled besides.

        :raise MigrationError: the deadline passed. :raise Cancelled: see _watch_for_cancellation.
        """
        while True:
            value = condition()
            if value:
                return value
            if self._cancel is not None:
                raise Cancelled(f"{self._cancel} while waiting for {what}", self._phase())
            if time.monotonic() > deadline_s:
                at = self._phase()
                raise MigrationError(
                    f"gave up waiting for {what}: the migration is in phase '{at.value}', last progress "
                    f"{self._progress()} (bytes sent, bytes left, page requests), the guest's last line "
                    f"{self._silence()} ago. {advice(at, self.settings)}",
                    at,
                )
            with self._changed:
                self._changed.wait(poll_s)

    def _silence(self) -> str:
        channels = (self.readings.source_channel, self.readings.destination_channel)
        times = [channel.samples[-1].time_s for channel in channels if channel is not None and channel.samples]
        return f"{time.monotonic() - max(times):.1f} s" if times else "long"

    def _watch_for_cancellation(self) -> None:
        """Turn signals and a controller that hung up into Cancelled at the next wait."""

        def on_signal(number: int, _frame: Any) -> None:
            self._cancel = f"received {signal.Signals(number).name}"

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            previous = signal.signal(number, on_signal)
            self._stack.callback(signal.signal, number, previous)

        def watch_stdout() -> None:
            poller = select.poll()
            poller.register(1, 0)  # only POLLERR and POLLHUP, which need no asking for
            while not self._ended.is_set():
                if any(event & (select.POLLERR | select.POLLHUP) for _fd, event in poller.poll(500)):
                    self._cancel = "the controller hung up"
                    return

        self._ended = threading.Event()
        self._stack.callback(self._ended.set)
        threading.Thread(target=watch_stdout, name="controller", daemon=True).start()

    def _refusal(self, text: str) -> MigrationError:
        return MigrationError(text, Phase.PREPARING)

    def _lost(self) -> MigrationError:
        return MigrationError(
            "the guest's memory is lost: one half of it went away during post-copy. "
            + advice(Phase.LOST, self.settings),
            Phase.LOST,
        )


def advice(at: Phase, settings: Settings) -> str:
    """What an operator should do about a migration that stopped in a phase."""
    if at.reversible:
        return f"The guest {settings.name} runs on the source; nothing needs to be done."
    if at is Phase.COMPLETED:
        return f"The guest {settings.name} runs on the destination; nothing needs to be done."
    if at is Phase.LOST:
        return (
            f"The source's half of {settings.name} is kept paused for forensics; "
            f"'virsh -c {settings.source_uri} destroy {settings.name}' ends it."
        )
    return (
        f"The guest {settings.name} is split over both hosts: destroy NEITHER half. Mend the link, then run the same "
        "task again: it finds the half migrated guest and brings it home."
    )
