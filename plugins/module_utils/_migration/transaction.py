# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One post-copy migration as a transaction, run on the destination host.

    prepare   where the guest stands, what the hosts can do; destination QEMU, capabilities, quota, eBPF program
    baseline  the guest is watched on the source, untouched
    drive     look, take the one next step (steps.py), look again, until the guest is home
    observe   the fixed window of throughput, memory verification

Whatever happens, the stack undoes: quota lifted, program gone. Before the switch a failure leaves the guest running on
the source; after it the only way is forward, and an error says where the guest is and how to bring it home.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from .._destination import cpu_latency, quota
from .._destination.prefetch import Prefetch, PrefetchError
from .._guest.telemetry import Channel, has_channel
from .._host import domain as domains
from .._host.endpoints import virsh
from .._host.qmp import (
    ConnectionFailed,
    GuestGone,
    Host,
    Monitor,
    QmpError,
)
from .._measure.instruments import (
    SchedStat,
    huge_pages_mb,
    process_of,
    throttled_s,
)
from .._measure.readings import Readings, Settings
from . import fitness
from .cancellation import Cancellation
from .errors import MigrationError, advised
from .event_log import EventLog
from .pace import Pace, Watch
from .phases import Phase, phase
from .standing import AT_WORK, Standing
from .steps import Situation, Step, next_step
from .working_set import Arrival

try:
    import libvirt
except ImportError:  # reported by qmp.py
    pass

# QEMU's switches to post-copy from within an iteration of pre-copy. Held down, pre-copy moves next to nothing first:
# the paper's post-copy transfers the CPU state before any memory.
PRECOPY_BYTES_PER_S = 256 * 1024
# Background push during demand paging; pages that the guest waits for take the preempt channel and are not held.
HOLD_BYTES_PER_S = 4096
# An attempt to connect anew may take this long, then comes the next one.
RECOVERY_S = 5.0
# A step after the switch is repeated this often at most.
RETRY_S = 1.0
# A half of the guest that seems to be gone is looked for once more after this time: nothing is graver.
CERTAINTY_S = 1.0
# What has to be undone is tried for this long while libvirtd is away, as it is for seconds when it is restarted.
UNDO_S = 30.0
# A guest that was just restored on a busy host says its first line after seconds.
TELEMETRY_S = 30.0
# How often QEMU is asked when no event has come, since asking costs the guest time, and how often all else is.
LOOK_S, POLL_S = 0.5, 0.05
MIB = 1 << 20
# Room in the request trace beyond one request a page: pages are asked for again after a recovery.
SPARE_ENTRIES = 65536
# Parameters and capabilities of the source that are put back when the guest stays there.
SOURCE_PARAMETERS = ("max-bandwidth", "max-postcopy-bandwidth")
SOURCE_CAPABILITIES = ("postcopy-ram", "postcopy-preempt", "events")


class Migration:
    """The transaction. Use ``run`` or ``check``; the module and the tests need nothing else.

    :param report: called with a line whenever something happens that an operator should hear of.
    """

    def __init__(self, settings: Settings, report: Callable[[str], None] = lambda _line: None) -> None:
        self.settings, self.report = settings, report
        self.readings = Readings()
        self._stack = ExitStack()
        self._log = EventLog(self.readings)
        self._cancellation = Cancellation(self._log.wake)
        self._source = Monitor(Host("source", settings.source_uri), settings.name)
        self._destination = Monitor(Host("destination", settings.destination_uri), settings.name)
        self._prefetch: Prefetch | None = None
        self._before: dict[str, Any] = {}
        self._started = self._switching = self._switched = False
        self._held = self._throttled = False
        self._deadline_s = time.monotonic() + settings.timeout_s + settings.baseline_s + (settings.observation_s or 0)
        self._failure: str | None = None  # why the guest is only brought home any more
        self._last_error: str | None = None
        self._quiet = Watch()

    def run(self) -> Readings:
        """Migrate, observe, verify.

        :raise MigrationError: see there.
        :raise ConnectionFailed: one of the two libvirts cannot be reached.
        :raise PrefetchError: prefetching was asked for and cannot be had.
        """
        with self._stack:
            self._enter()
            stands = self._stand()
            if stands is Standing.HOME:
                self.readings.was_home = True
                self.readings.quota_left_over = bool(self._insist(lambda: quota.lift(self._destination.domain)))
                return self.readings
            if stands in (Standing.HALF, Standing.ENDED):
                self._take_over()
                return self.readings
            self._migrate(left_over=stands is Standing.WAITING)
        return self.readings

    def check(self) -> bool:
        """What ``run`` checks before it touches anything; returns whether it would change anything.

        :raise MigrationError: as ``run``.
        """
        with self._stack:
            self._enter()
            return self._stand() is not Standing.HOME

    def _enter(self) -> None:
        for monitor in (self._source, self._destination):
            self._stack.callback(monitor.host.close)
            self._stack.callback(monitor.close)
            monitor.host.connection()
        self._stack.enter_context(self._cancellation)

    def _stand(self) -> Standing:
        """Where the guest stands, once it is sure that something can be done about it."""
        try:
            return fitness.stand(self.settings, self._source, self._destination)
        except fitness.Unfit as error:
            raise MigrationError(str(error), error.phase) from error

    def _migrate(self, left_over: bool) -> None:
        bound = cpu_latency.bounded(self.settings.cpu_latency_us)
        self.readings.cpu_latency_absent = self._stack.enter_context(bound)
        try:
            if left_over:
                self.report("an earlier call left the destination waiting: starting afresh")
                self._give_back()
            self._prepare()
            self._baseline()
        except BaseException:
            self._give_back()
            raise
        try:
            self._drive()
        except BaseException:
            self._let_go()
            raise
        self._observe()
        self._collect()
        if self.settings.end_guest:
            self._insist(lambda: domains.destroy(self._destination.domain))

    # -- prepare -----------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Everything that can fail without touching the guest."""
        self._before = fitness.parameters(self._source, SOURCE_PARAMETERS, SOURCE_CAPABILITIES)
        with self._source.translated():
            quota.lift(self._source.domain)  # left by a killed migration to that host
            xml = self._source.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE)
        try:
            self._destination.host.connection().createXML(domains.incoming_xml(xml), libvirt.VIR_DOMAIN_START_PAUSED)
        except libvirt.libvirtError as error:
            raise self._refusal(f"the destination cannot hold the guest {self.settings.name}: {error}") from error
        self._destination.look_up()
        self._configure()
        self._uri = self._listen("migrate-incoming")
        self._destination.execute("cont")  # in INMIGRATE: run after the switch
        threads = tuple(cpu["thread-id"] for cpu in self._destination.execute("query-cpus-fast"))
        self._pid = process_of(threads[0])
        self.readings.vcpu_threads = threads
        self._load_prefetch()
        self._throttle()
        if has_channel(xml):
            self.readings.source_channel = self._open_channel(self._source)
            self.readings.destination_channel = self._open_channel(self._destination)
        self.readings.sched = self._stack.enter_context(SchedStat(threads))

    def _configure(self) -> None:
        settings, source, destination = self.settings, self._source, self._destination
        for monitor in (source, destination):
            monitor.listen(self._log.add)
        try:
            for monitor in (source, destination):
                monitor.set_capabilities(postcopy_ram=True, events=True)
                monitor.set_capabilities(postcopy_preempt=settings.preempt)
            destination.set_capabilities(postcopy_blocktime=True)
        except QmpError as error:
            hint = "Can QEMU use userfaultfd? Run playbooks/provision.yml on both hosts"
            raise self._refusal(f"{error}. {hint}") from error
        self.readings.capabilities = destination.capabilities()
        self._held = settings.transfer == "demand"
        source.execute(
            "migrate-set-parameters",
            max_bandwidth=PRECOPY_BYTES_PER_S,
            max_postcopy_bandwidth=HOLD_BYTES_PER_S if self._held else self._push_bytes_per_s,
        )

    @property
    def _push_bytes_per_s(self) -> int:
        """QEMU's max-postcopy-bandwidth while the push is not held; 0 is unlimited."""
        return round(self.settings.max_postcopy_bandwidth_mb_per_s * MIB)

    def _open_channel(self, monitor: Monitor) -> Channel:
        channel = Channel(monitor.role)
        self._stack.callback(channel.close)
        with monitor.translated():
            monitor.follow(channel.open)
        return channel

    def _listen(self, command: str) -> str:
        """Let the destination listen on a port that the kernel chooses; returns the URI to connect to."""
        address = self.settings.migration_address
        host = f"[{address}]" if ":" in address else address
        self._destination.execute(command, uri=f"tcp:{host}:0")
        listening = self._destination.execute("query-migrate")["socket-address"][-1]
        self._port = int(listening["port"])
        return f"tcp:{host}:{self._port}"

    def _load_prefetch(self) -> None:
        """Prefetching, and the request trace. Without prefetching a host that cannot load it just has no trace."""
        settings = self.settings
        try:
            blocks = fitness.blocks(self._source)
            entries = sum(block.used_bytes // block.page_bytes for block in blocks) + SPARE_ENTRIES
            program = Prefetch(settings.prefetch_program, blocks, settings.policy, entries)
            self._stack.enter_context(program).attach(self._pid, self._port)
            self._prefetch = program
        except PrefetchError as error:
            if settings.policy.extends:
                raise PrefetchError(f"prefetching needs eBPF on the destination: {error}") from error
            self.readings.prefetch_absent = str(error)

    def _throttle(self) -> None:
        settings = self.settings
        if settings.vcpu_quota_percent < 100:
            self._stack.callback(self._lift_quota)
            self._throttled = True  # even if it works by half
            with self._destination.translated():
                quota.throttle(self._destination.domain, settings.vcpu_quota_percent, settings.vcpu_period_us)

    def _baseline(self) -> None:
        """Watch the guest on the source, so that slow-down has something to be measured against."""
        channel, needed_s = self.readings.source_channel, self.settings.baseline_s
        if needed_s <= 0 or channel is None:
            return
        self._wait(
            lambda: channel.samples and channel.samples[-1].time_s - channel.samples[0].time_s > needed_s,
            time.monotonic() + needed_s + TELEMETRY_S,
            "the baseline: is the guest's workload running? If not, rebuild the saved states (playbooks/guest.yml)",
        )

    # -- drive -------------------------------------------------------------------------------------------------------

    def _drive(self) -> None:
        """Take one step after another until the guest is home.

        :raise MigrationError: it is home but not measured, or it is not home.
        """
        actions = {
            Step.START: self._start,
            Step.SWITCH: self._switch,
            Step.RELEASE: self._release,
            Step.LIFT_QUOTA: self._lift_quota,
            Step.PAUSE: self._pause,
            Step.RECOVER: self._recover,
        }
        self._arrival = Arrival(self.settings, self.readings)
        last, at_s = Step.WAIT, 0.0
        lost_since_s: float | None = None
        while True:
            try:
                now = self._look()
                step = next_step(now)
                if step is Step.FINISH:
                    break
                if step is Step.ROLL_BACK:
                    raise self._rolled_back()
                if step is Step.TELL_LOST:
                    lost_since_s = lost_since_s or time.monotonic()
                    if time.monotonic() - lost_since_s > CERTAINTY_S:
                        raise self._lost()
                else:
                    lost_since_s = None
                if step in actions and (step is not last or time.monotonic() - at_s > RETRY_S):
                    last, at_s = step, time.monotonic()
                    actions[step]()
                    continue
            except (ConnectionFailed, QmpError, GuestGone) as error:
                self._last_error = str(error)
            self._keep_time()
            self._await_news()
        self._arrive()

    def _look(self) -> Situation:
        """What is seen of the migration now."""
        source = self._answer(self._source)
        status = None if source is None else source.get("status", "none")
        destination = self._status(self._destination)
        at = phase(status, destination) if self._started else Phase.PREPARING
        if self._started and not at.reversible:
            self._switched = True
        ram = (source or {}).get("ram", {})
        moved = status, destination, ram.get("transferred"), ram.get("remaining"), ram.get("postcopy-requests")
        requests = self._prefetch.requests_seen if self._prefetch is not None else ram.get("postcopy-requests", 0)
        patience_s = self.settings.stall_timeout_s
        return Situation(
            source=status,
            destination=destination,
            started=self._started,
            switching=self._switching,
            switched=self._switched,
            held=self._held,
            throttled=self._throttled and self.settings.vcpu_quota_until == "working-set",
            arrived=self._switched and self._arrival.seen(requests),
            quiet_s=self._quiet.quiet_s(moved),
            patience_s=min(patience_s, RECOVERY_S) if at is Phase.RECOVERING else patience_s,
            homeward=self._failure is not None or self.readings.taken_over,
        )

    def _start(self) -> None:
        before_s = time.time()
        self._started = True
        try:
            self._source.execute("migrate", uri=self._uri)
        except QmpError as error:
            self._failure = str(error)
        self._log.measure_clock_offset(before_s, time.time())

    def _switch(self) -> None:
        self._switching = True  # even if the answer gets lost
        self._source.execute("migrate-start-postcopy")

    def _release(self) -> None:
        self._source.execute("migrate-set-parameters", max_postcopy_bandwidth=self._push_bytes_per_s)
        self._held = False
        self.readings.released_s = time.monotonic()

    def _pause(self) -> None:
        self.report("the migration stalled: pausing and recovering it")
        for monitor in (self._source, self._destination):
            with suppress(QmpError, GuestGone):  # paused already, by the broken connection itself
                monitor.execute("migrate-pause")
        self._quiet.restart()

    def _recover(self) -> None:
        """Connect both sides anew; they are paused again afterwards if the link is still down.

        QEMU docs/devel/migration/postcopy.rst, "Postcopy recovery".
        """
        self.readings.recoveries += 1
        uri = self._listen("migrate-recover")
        if self._prefetch is not None:
            self._prefetch.attach(self._pid, self._port)
        self._source.execute("migrate", uri=uri, resume=True)
        self._quiet.restart()

    def _arrive(self) -> None:
        """The last page is there."""
        self._insist(self._lift_quota)
        answer = self._answer(self._source, retry=True)
        self.readings.source_migrate = answer or {}
        self._end_the_rest()
        if self._failure is not None:
            raise advised(self._failure, Phase.COMPLETED, self.settings)

    def _end_the_rest(self) -> None:
        """End what is left of the guest on the source, which must not run again."""

        def end() -> None:
            if self._source.execute("query-status")["running"]:
                raise MigrationError(
                    f"the guest {self.settings.name} runs on both hosts; nothing was ended. Look at both, and destroy "
                    "the one that is wrong",
                    Phase.COMPLETED,
                )
            domains.destroy(self._source.domain)

        self._insist(end)

    def _rolled_back(self) -> MigrationError:
        """Give the guest back to the source; returns the error that says why."""
        failure = self._failure
        if failure is None:
            reason = (self._answer(self._source) or {}).get("error-desc") or self._last_error or "no reason given"
            failure = f"the migration failed before the switch: {reason}"
        self._give_back()
        return advised(failure, Phase.FAILED, self.settings)

    def _give_back(self) -> None:
        """Let the source have the guest as it was; nothing of ours is left on the destination.

        :raise MigrationError: it has switched meanwhile. :raise ConnectionFailed: libvirt does not come back.
        """
        source = self._source

        def cancel() -> None:
            if self._status(source) in AT_WORK:
                source.execute("migrate_cancel")
            self._wait(lambda: self._status(source) not in AT_WORK, time.monotonic() + UNDO_S, "cancel", heed=False)
            if not source.execute("query-status")["running"]:
                status = self._status(source) or "gone"
                if status.startswith("postcopy") or (self._started and status == "completed"):
                    self._switched = True  # the destination has it: continued here, it would be there twice
                    text = f"the guest switched while it was to be given back (migration status {status})"
                    raise advised(text, Phase.POSTCOPY, self.settings)
                if status in ("failed", "cancelled"):  # else somebody has paused it
                    source.execute("cont")
            if self._before:
                fitness.put_back(source, self._before)

        def end_incoming() -> None:
            if self._destination.execute("query-status")["status"] == "inmigrate":
                domains.destroy(self._destination.domain)

        self._insist(cancel)
        self._insist(end_incoming)

    def _let_go(self) -> None:
        """Hold nothing back any more, so that QEMU ends by itself what this call could not."""
        if self._switched and self._held:
            # What went wrong is being raised already; the next call releases it otherwise.
            with suppress(ConnectionFailed, GuestGone, QmpError):
                self._release()

    def _take_over(self) -> None:
        """Finish what an earlier call left half migrated, without the measurements that died with it."""
        self.report(f"the guest {self.settings.name} is half migrated: bringing it home")
        self.readings.taken_over = self._started = self._switching = self._switched = True
        self._held = True
        self._insist(lambda: quota.lift(self._destination.domain))
        self._drive()

    def _lift_quota(self) -> None:
        """Lift the quota once; kept for the end of the transaction in case that the migration never completes."""
        if not self._throttled:
            return
        self.readings.throttled_s = throttled_s(self.readings.vcpu_threads)

        def lift() -> None:
            domain = self._destination.domain
            with self._destination.translated():
                quota.lift(domain)

        try:
            self._insist(lift)
        except ConnectionFailed as error:
            raise MigrationError(
                f"the guest {self.settings.name} is still throttled, because {error}. Lift the quota with "
                f"{virsh(self.settings.destination_uri, 'schedinfo', self.settings.name, '--live', 'vcpu_quota=-1')}, "
                "or run the same task again",
                Phase.COMPLETED,
            ) from error
        self._throttled = False
        self.readings.quota_lifted_s = time.monotonic()

    # -- observe -----------------------------------------------------------------------------------------------------

    def _observe(self) -> None:
        settings, readings = self.settings, self.readings
        channel, resumed = readings.destination_channel, readings.time_of("destination", "RESUME")
        if channel is None:
            return
        if settings.observation_s is not None and resumed is not None:
            end = resumed + settings.observation_s
            readings.observation_end_s = end
            # One more sample, so that the curve reaches the end of the window.
            self._wait(
                lambda: time.monotonic() > end and bool(channel.samples) and channel.samples[-1].time_s >= end,
                max(end, time.monotonic()) + TELEMETRY_S,
                "the end of the observation window",
            )
        if settings.verify:
            self._verify(channel)

    def _verify(self, channel: Channel) -> None:
        """Let the guest look at its memory; asked anew when the connection was lost over the answer."""
        asked: Any = None

        def answered() -> Any:
            nonlocal asked
            if asked is not self._destination.domain:
                channel.send("verify")
                asked = self._destination.domain
            return channel.verified

        self._wait(answered, self._deadline_s, "the guest's memory check")
        self.readings.verified = channel.verified[-1]

    def _collect(self) -> None:
        readings = self.readings
        readings.huge_pages_mb = huge_pages_mb(self._pid)
        readings.destination_migrate = self._answer(self._destination, retry=True) or {}
        readings.connections_lost = [
            monitor.host.role for monitor in (self._source, self._destination) if monitor.host.connects > 1
        ]
        if self._prefetch is not None:
            readings.requests = list(self._prefetch.requests())
            readings.requests_seen = self._prefetch.requests_seen

    # -- looking, waiting --------------------------------------------------------------------------------------------

    def _answer(self, monitor: Monitor, retry: bool = False) -> dict[str, Any] | None:
        """A side's answer to query-migrate; None when its QEMU is gone."""

        def ask() -> dict[str, Any]:
            found: dict[str, Any] = monitor.execute("query-migrate")
            return found

        try:
            return self._insist(ask) if retry else ask()
        except GuestGone:
            return None

    def _status(self, monitor: Monitor) -> str | None:
        """A side's MigrationStatus; None when its QEMU is gone."""
        answer = self._answer(monitor)
        return None if answer is None else answer.get("status", "none")

    def _insist(self, action: Callable[[], Any]) -> Any:
        """Do what must be done, again and again while libvirtd is away. A guest that is gone is none to do it to.

        :raise ConnectionFailed: libvirtd did not come back.
        """
        give_up_s = time.monotonic() + UNDO_S
        while True:
            try:
                return action()
            except GuestGone:
                return None
            except TimeoutError as error:  # QEMU hangs in the kernel
                at = Phase.COMPLETED if self._switched else Phase.PREPARING
                raise advised(str(error), at, self.settings) from error
            except (ConnectionFailed, libvirt.libvirtError) as error:
                if time.monotonic() > give_up_s:
                    raise ConnectionFailed(str(error)) from error
                time.sleep(RETRY_S)

    def _keep_time(self) -> None:
        """Begin the way home when the migration is cancelled or late.

        :raise MigrationError: it is late even for that.
        """
        late = time.monotonic() > self._deadline_s
        if self._cancellation.reason is not None and self._failure is None:
            self._failure = self._cancellation.reason
        elif late and self._failure is None:
            self._failure = f"the migration did not end in {self.settings.timeout_s:g} s ({self._seen()})"
        elif not late:
            return
        else:
            at = Phase.POSTCOPY if self._switched else Phase.PRECOPY
            text = f"{self._failure}, and the guest is not home after another {self.settings.timeout_s:g} s"
            raise advised(f"{text} ({self._seen()})", at, self.settings)
        self._deadline_s = time.monotonic() + self.settings.timeout_s

    def _seen(self) -> str:
        """State and last progress, for an error message."""
        told = (
            [f"source, destination, bytes sent, bytes left, page requests: {self._quiet.value}"]
            if self._started
            else []
        )
        channels = (self.readings.source_channel, self.readings.destination_channel)
        times = [channel.samples[-1].time_s for channel in channels if channel is not None and channel.samples]
        if times:
            told.append(f"the guest's last line {time.monotonic() - max(times):.1f} s ago")
        return "; ".join([*told, *([f"last error: {self._last_error}"] if self._last_error else [])])

    def _await_news(self) -> None:
        """Sleep until an event comes, the working set has arrived, or QEMU should be asked again."""
        pace = Pace(LOOK_S)
        awaited = self._held or (self._throttled and self.settings.vcpu_quota_until == "working-set")
        while not (self._log.sleep(POLL_S) or pace.due() or (awaited and self._arrival.walked())):
            pass

    def _wait(self, condition: Callable[[], Any], deadline_s: float, what: str, heed: bool = True) -> Any:
        """Wait until a condition holds, while the guest is in one piece.

        :param heed: obey a cancellation.
        :raise MigrationError: cancelled, or the deadline passed.
        """
        while True:
            try:
                value = condition()
                if value:
                    return value
            except (ConnectionFailed, libvirt.libvirtError) as error:
                self._last_error = str(error)
            at = Phase.COMPLETED if self._switched else Phase.PREPARING
            if heed and self._cancellation.reason is not None:
                text = f"{self._cancellation.reason} while waiting for {what}"
                raise advised(text, at, self.settings)
            if time.monotonic() > deadline_s:
                raise advised(f"gave up waiting for {what} ({self._seen()})", at, self.settings)
            self._log.sleep(POLL_S)

    # -- errors ------------------------------------------------------------------------------------------------------

    def _refusal(self, text: str) -> MigrationError:
        return MigrationError(text, Phase.PREPARING)

    def _lost(self) -> MigrationError:
        if not self._switched:  # the source's QEMU died with the whole guest; what waits here has nothing of it
            self._insist(lambda: domains.destroy(self._destination.domain))
            text = f"the guest {self.settings.name} is gone: the source's QEMU ended before the switch"
            return MigrationError(f"{text}. Start the guest again", Phase.LOST)
        gone = "source" if self._status(self._source) is None else "destination"
        text = f"the guest's memory is lost: the {gone}'s QEMU went away during post-copy"
        return advised(text, Phase.LOST, self.settings)
