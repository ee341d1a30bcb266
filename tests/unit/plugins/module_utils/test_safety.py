# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""In no order of events do both sides run, or neither while the module says that all is well.

The transaction drives a model of two QEMUs. Between any two of its commands anything may happen: memory arrives, the
link breaks or heals, an operator pauses or resumes, a QEMU dies, a reply or a look is lost, somebody cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils._host import domain as domains
from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import ConnectionFailed, GuestGone, QmpError
from ansible_collections.vcsp.testbed.plugins.module_utils._migration import (
    drive,
    observe,
    pace,
    run_state,
    session,
    transaction,
    undo,
)
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.errors import MigrationError
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.phases import Phase
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.session import Incoming, Session

from .test_fitness import INCOMING, RUNNING
from .test_result import options

LIBVIRT = SimpleNamespace(libvirtError=OSError, VIR_DOMAIN_RUNNING=1, VIR_DOMAIN_PAUSED=3, VIR_DOMAIN_PAUSED_USER=1)


@dataclass
class Qemu:
    """One side: its statuses as query-migrate and query-status report them."""

    status: str
    state: str
    alive: bool = True
    autostart: bool = True
    by_operator: bool = False

    @property
    def runs(self) -> bool:
        return self.alive and self.state == "running"


@dataclass
class World:
    """Two QEMUs and the link between them; ``pick`` decides what happens.

    :ivar loads_devices: QEMU >= 10.2, whose source waits in postcopy-device for the destination to run.
    :ivar looked_at: the sides whose run state was looked at since somebody else changed it.
    :ivar package: the devices' state is on its way, and then its acknowledgement.
    """

    pick: Callable[[], str]
    loads_devices: bool
    source: Qemu = field(default_factory=lambda: Qemu("completed", "running"))
    destination: Qemu = field(default_factory=lambda: Qemu("setup", "inmigrate"))
    link: bool = True
    package: bool = False
    acknowledged: bool = False
    wanted: bool = False
    before: str = "running"
    killed: bool = False
    stranded: bool = False
    hidden_s: float = -9.0
    looked_at: set[str] = field(default_factory=set)
    split_by_qemu: bool = False
    time_s: float = 0.0
    cancel: Callable[[], None] = lambda: None
    fault: str | None = None

    def happen(self) -> None:
        """One event of the environment."""
        event = self.pick()
        if event == "hidden":  # one wrong look, not a row of them
            if self.time_s > self.hidden_s + 2 * drive.CERTAINTY_S:
                self.fault, self.hidden_s = event, self.time_s
        elif event in ("reply lost", "not done"):
            self.fault = event
        else:
            {
                "progress": self.progress,
                "cut": self.cut,
                "heal": self.heal,
                "suspend": self.suspend,
                "resume": self.resume,
                "stop": self.stop,
                "source dies": lambda: self.die(self.source),
                "destination dies": lambda: self.die(self.destination),
                "cancel": self.cancel,
                "nothing": lambda: None,
            }[event]()
        self.check()

    def check(self) -> None:
        assert self.split_by_qemu or not (self.source.runs and self.destination.runs), self

    def cut(self) -> None:
        if self.package and not self.loads_devices:
            self.stranded = True  # a source before 10.2 then waits for ever for a destination that has nothing
        self.link = self.package = False

    def heal(self) -> None:
        self.link = True

    def suspend(self) -> None:
        if self.source.runs:
            self.source.state, self.source.by_operator = "paused", True
            self.looked_at.discard("source")

    def stop(self) -> None:
        """Somebody stops the destination, waiting or running, by QMP."""
        self.execute("destination", "stop", {})
        self.looked_at.discard("destination")

    def resume(self) -> None:
        if self.source.state == "paused":
            self.source.state, self.source.by_operator = "running", False

    def die(self, side: Qemu) -> None:
        if side.alive:
            side.alive, self.killed = False, True

    def fail(self, status: str) -> None:
        """What QEMU's migration thread does at the end of a migration that came to nothing."""
        self.source.status = status
        if self.source.state == "finish-migrate":
            self.source.state = self.before
        if self.source.runs and self.destination.runs:
            self.split_by_qemu = status == "failed"  # its acknowledgement was lost; nobody can prevent that

    def progress(self) -> None:
        """Both QEMUs and the network do the next thing that they would do by themselves."""
        source, destination = self.source, self.destination
        reached = self.link and destination.alive
        if self.package and destination.alive:
            self.package = False
            destination.status = "postcopy-active"
            destination.state = "running" if destination.autostart else "paused"
            self.acknowledged = self.link
        elif not source.alive:
            if destination.status == "postcopy-active":
                destination.status = "postcopy-paused"
        elif source.status == "cancelling":
            self.fail("cancelled")
        elif source.status in ("setup", "active", "postcopy-device") and not reached:
            self.fail("failed")
        elif source.status == "setup":
            source.status = destination.status = "active"
        elif source.status == "active" and self.wanted:
            self.before, source.state, source.status = source.state, "finish-migrate", "device"
            self.package = True
        elif source.status == "device":
            source.status = "postcopy-device" if self.loads_devices else "postcopy-active"
        elif source.status == "postcopy-device" and self.acknowledged:
            source.status = "postcopy-active"
        elif source.status == "postcopy-active" and not reached:
            source.status = "postcopy-paused"
        elif destination.status == "postcopy-active" and (not self.link or source.status == "postcopy-paused"):
            destination.status = "postcopy-paused"
        elif source.status == destination.status == "postcopy-active":
            destination.status = "completed"
        elif source.status == "postcopy-active" and destination.status == "completed":
            source.status, source.state = "completed", "postmigrate"

    def execute(self, role: str, command: str, arguments: dict[str, Any]) -> Any:
        """What QEMU does on a command."""
        side: Qemu = getattr(self, role)
        if command == "query-migrate":
            return {"status": side.status, "socket-address": [{"port": "1"}]}
        if command == "query-status":
            self.looked_at.add(role)
            return {"running": side.state == "running", "status": side.state}
        if command in ("stop", "cont"):
            if side.state == "inmigrate":
                side.autostart = command == "cont"
            elif command == "stop" and side.state == "running":
                side.state = "paused"
            elif command == "cont":
                side.state = "running"
        elif command == "migrate-start-postcopy":
            self.wanted = True
        elif command == "migrate" and not arguments.get("resume"):
            side.status = "setup"
        elif command == "migrate" and side.status == self.destination.status == "postcopy-paused" and self.link:
            side.status = self.destination.status = "postcopy-active"
        elif command == "migrate_cancel" and side.status not in ("completed", "failed", "cancelled", "none"):
            side.status = "cancelling"
        elif command == "migrate-pause" and side.status != "postcopy-active":
            raise QmpError(command, "GenericError", "not in post-copy")
        elif command == "migrate-pause":
            side.status = "postcopy-paused"
        return {}


class Monitor:
    """A side as the module reaches it, and its libvirt domain."""

    def __init__(self, world: World, role: str) -> None:
        self.world, self.role = world, role
        self.host = SimpleNamespace(connects=1)

    @property
    def side(self) -> Qemu:
        side: Qemu = getattr(self.world, self.role)
        if not side.alive:
            raise GuestGone("gone")
        return side

    @property
    def domain(self) -> Any:
        return self if self.side.alive else None

    def execute(self, command: str, **arguments: Any) -> Any:
        world = self.world
        world.happen()
        fault, world.fault = world.fault, None
        if fault == "hidden":
            raise GuestGone("for a moment")
        if fault == "not done":
            raise ConnectionFailed("away")
        answer = world.execute(self.role, command, arguments) if self.side else None
        world.check()
        if fault == "reply lost":
            raise ConnectionFailed("the reply was lost")
        return answer

    def destroy(self) -> None:
        self.side.alive = False

    def state(self) -> list[int]:
        return [1, 1] if self.side.state == "running" else [3, int(self.side.by_operator)]

    def XMLDesc(self) -> str:  # noqa: N802 - libvirt's name
        return INCOMING if self.side and self.role == "destination" else RUNNING

    @contextmanager
    def translated(self) -> Iterator[None]:
        yield


class Log:
    """Nothing but time passes while the module sleeps."""

    def __init__(self, world: World) -> None:
        self._world = world

    def sleep(self, _time_s: float) -> bool:
        self._world.time_s += 0.5
        return True

    def wake(self) -> None:
        """Nobody sleeps."""

    def measure_clock_offset(self, _before_s: float, _after_s: float) -> None:
        """There is one clock."""


COMMON = ["progress"] * 12 + ["nothing"] * 4 + ["suspend", "resume", "cut", "heal"]
FAULTS = ["reply lost", "not done", "hidden", "source dies", "destination dies", "cancel", "stop"]


@contextmanager
def simulated(world: World) -> Iterator[None]:
    """The module's clock and its libvirt, replaced by the model's."""

    def sleep(time_s: float) -> None:
        world.time_s += time_s

    clock = SimpleNamespace(monotonic=lambda: world.time_s, time=lambda: world.time_s, sleep=sleep)
    nothing = mock.patch.object(domains, "read_note", lambda *_: None)
    with mock.patch.object(domains, "destroy", lambda guest: guest.destroy()), nothing:
        patches = [mock.patch.object(module, "time", clock) for module in (drive, pace, run_state, session, undo)]
        patches += [mock.patch.object(module, "libvirt", LIBVIRT, create=True) for module in (run_state, session)]
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in patches:
                patch.stop()


def migrated(world: World, **changes: Any) -> tuple[Session, MigrationError | None]:
    """Have the module migrate the guest of the model; returns how it ended."""
    call: Any = Session(options(timeout_s=120, stall_timeout_s=1.0, **changes), report=lambda _line: None)
    call.source, call.destination, call.log = Monitor(world, "source"), Monitor(world, "destination"), Log(world)
    call.incoming = Incoming(1, 1, "tcp:192.0.2.12:1")
    world.cancel = lambda: setattr(call.cancellation, "reason", "received SIGTERM")
    try:
        with transaction._reported(call):
            drive.drive(call)
            call.incoming = None
            observe.collect(call)
    except MigrationError as error:
        return call, error
    return call, None


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    lead=st.integers(0, 40),
    events=st.lists(st.tuples(st.sampled_from(COMMON + FAULTS), st.integers(1, 12)), max_size=20),
    loads_devices=st.booleans(),
    keep=st.sampled_from(["keep", "running"]),
)
@example(lead=5, events=[("nothing", 12), ("hidden", 1)], loads_devices=False, keep="keep")
def test_a_guest_never_runs_twice_and_is_never_said_to_be_well_where_it_is_not(
    lead: int, events: list[tuple[str, int]], loads_devices: bool, keep: str
) -> None:
    happened = [event for event, times in events for _time in range(times)]
    queue = iter(["progress"] * lead + happened + ["heal"])
    world = World(lambda: next(queue, "progress"), loads_devices)
    with simulated(world):
        call, error = migrated(world, run_state=keep)
        world.heal()
        for _step in range(8):  # what was on its way arrives
            world.progress()
            world.check()
    source, destination = world.source, world.destination
    assert not (source.runs and destination.runs), world
    halves = source.alive and destination.alive
    whole = (source.alive and not source.status.startswith("postcopy")) or destination.status == "completed"
    assert world.killed or halves or whole, f"the module lost the guest: {world}"
    if not world.killed and not world.stranded and not {"suspend", "stop"} & set(happened):
        assert source.runs or destination.runs, f"the module left the guest stopped: {world}"
    if error is None:
        assert not source.alive
        assert world.killed or (destination.alive and destination.status == "completed"), world
        if call.readings.run_state == "running":
            assert destination.runs or world.killed or "destination" not in world.looked_at, world
        else:
            assert keep == "keep" and call.readings.was_paused and "suspend" in happened, world
        if keep == "keep" and world.before == "paused":
            assert not destination.runs, f"its operator had paused it: {world}"
        return
    if "nothing needs to be done" in str(error):
        assert source.runs or destination.runs or world.killed or world.looked_at != {"source", "destination"}, world
    if "is not home" in str(error):
        assert not source.runs, (world, error)
    if error.phase is Phase.LOST:
        assert world.killed, (world, error)
