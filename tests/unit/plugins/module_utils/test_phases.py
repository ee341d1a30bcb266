# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The phase of a migration, for every pair of statuses and along every path a migration may take."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.strategies import booleans, sampled_from

from ansible_collections.vcsp.testbed.plugins.module_utils._migration.phases import Phase, known, phase

# MigrationStatus in each version (QEMU's qapi/migration.json), and None for a QEMU that is gone.
V8_2: frozenset[str | None] = frozenset({
    None, "none", "setup", "cancelling", "cancelled", "active", "postcopy-active", "postcopy-paused",
    "postcopy-recover", "completed", "failed", "colo", "pre-switchover", "device", "wait-unplug",
})  # fmt: skip
V10_0 = V8_2 | {"postcopy-recover-setup"}
V10_2 = V10_0 | {"postcopy-device"}
V11_1 = V10_2 | {"failing"}
VERSIONS = {"8.2": V8_2, "10.0": V10_0, "10.2": V10_2, "11.1": V11_1}
ENDED = {None, "failed", "failing", "cancelled", "cancelling"}

every_version = pytest.mark.parametrize("statuses", VERSIONS.values(), ids=VERSIONS)


def is_split(status: str | None) -> bool:
    """Whether the destination of this status runs, or of this source."""
    return status is not None and status.startswith("postcopy") and status != "postcopy-device"


@every_version
def test_every_status_of_a_version_is_known_but_the_one_of_fault_tolerance(statuses: frozenset[str | None]) -> None:
    assert {status for status in statuses if not known(status)} == {"colo"}


@every_version
def test_no_migration_is_reversible_once_the_destination_may_run(statuses: frozenset[str | None]) -> None:
    for source, destination in product(statuses, statuses):
        if is_split(source) or is_split(destination) or destination == "completed":
            assert not phase(source, destination).reversible, (source, destination)


@every_version
def test_a_destination_with_all_memory_is_never_rolled_back_or_lost(statuses: frozenset[str | None]) -> None:
    for source in statuses - {"colo"}:
        assert phase(source, "completed") in (Phase.COMPLETED, Phase.POSTCOPY), source


@every_version
def test_lost_only_if_the_guest_or_half_of_it_is_gone(statuses: frozenset[str | None]) -> None:
    for source, destination in product(statuses - {"colo"}, statuses - {"colo", "completed"}):
        ended = ENDED & {source, destination}
        switched = is_split(source) or is_split(destination) or source == "completed"
        lost = bool(ended and (switched or source is None))
        assert (phase(source, destination) is Phase.LOST) == lost, (source, destination)


@every_version
def test_completed_only_if_the_destination_says_so(statuses: frozenset[str | None]) -> None:
    for source, destination in product(statuses, statuses):
        home = destination == "completed" and (source in ENDED or source in ("completed", "postcopy-paused"))
        assert (phase(source, destination) is Phase.COMPLETED) == home, (source, destination)


@every_version
def test_nothing_is_prepared_once_a_side_is_busy(statuses: frozenset[str | None]) -> None:
    for source, destination in product(statuses, statuses):
        if phase(source, destination) is Phase.PREPARING:
            assert source in ("none", "setup", "completed"), (source, destination)
            assert destination in ("none", "setup", "active", "pre-switchover", "device", "wait-unplug"), destination


@pytest.mark.parametrize("status", ["colo", "sent-by-pigeon"])
def test_an_unknown_status_undoes_nothing_and_claims_nothing(status: str) -> None:
    for other in V11_1:
        assert phase(status, other) is phase(other, status) is Phase.UNKNOWN
    assert not Phase.UNKNOWN.reversible


def test_an_unknown_status_of_post_copy_is_no_way_back() -> None:
    for other in V11_1 - {"colo"}:
        assert not phase("postcopy-by-pigeon", other).reversible
        assert not phase(other, "postcopy-by-pigeon").reversible


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        ("none", "none", Phase.PREPARING),
        ("setup", "setup", Phase.PREPARING),
        ("completed", "setup", Phase.PREPARING),  # left over from the migration that brought the guest
        ("active", "active", Phase.PRECOPY),
        ("device", "active", Phase.PRECOPY),
        ("postcopy-device", "active", Phase.SWITCHING),
        ("postcopy-device", "postcopy-device", Phase.SWITCHING),
        ("postcopy-device", "postcopy-active", Phase.POSTCOPY),  # the source has not heard of it yet
        ("postcopy-device", "completed", Phase.POSTCOPY),
        ("postcopy-device", None, Phase.FAILED),
        ("postcopy-device", "failing", Phase.FAILED),
        ("postcopy-active", "postcopy-device", Phase.POSTCOPY),
        ("failing", "setup", Phase.FAILED),
        ("failing", "active", Phase.FAILED),
        ("failing", "postcopy-device", Phase.FAILED),
        ("failing", "postcopy-paused", Phase.LOST),
        ("cancelled", "postcopy-active", Phase.LOST),
        ("postcopy-active", "active", Phase.POSTCOPY),
        ("postcopy-paused", "postcopy-active", Phase.PAUSED),
        ("postcopy-recover", "postcopy-paused", Phase.RECOVERING),
        ("completed", "postcopy-active", Phase.POSTCOPY),
        ("cancelled", "setup", Phase.FAILED),
        ("active", None, Phase.FAILED),
        (None, "setup", Phase.LOST),
        ("failed", "failed", Phase.FAILED),
    ],
)
def test_phases_of_a_migration(source: str | None, destination: str | None, expected: Phase) -> None:
    assert phase(source, destination) is expected


class Machine(RuleBasedStateMachine):
    """Two QEMUs whose statuses follow each other with a delay; the source decides when to switch."""

    switched = False
    broken = False

    @initialize(came_by_migration=booleans())
    def begin(self, came_by_migration: bool) -> None:
        self.source: str | None = "completed" if came_by_migration else "none"
        self.destination: str | None = "setup"

    @rule()
    def proceed_on_the_source(self) -> None:
        follows: dict[str | None, str] = {"none": "setup", "setup": "active", "active": "device"}
        if not self.switched and self.source in (*follows, "completed") and self.destination in ("setup", "active"):
            self.source = follows.get(self.source, "setup")

    @rule()
    def proceed_on_the_destination(self) -> None:
        if self.source in ("active", "device") and self.destination == "setup":
            self.destination = "active"
        elif self.switched and self.destination == "active":
            self.destination = "postcopy-active"

    @precondition(lambda self: self.source == "device" and self.destination == "active")
    @rule()
    def switch(self) -> None:
        self.source, self.switched = "postcopy-active", True

    @precondition(lambda self: self.source == "device" and self.destination == "active")
    @rule()
    def send_device_state(self) -> None:
        self.source = self.destination = "postcopy-device"

    @precondition(lambda self: self.source == self.destination == "postcopy-device")
    @rule()
    def destination_runs(self) -> None:
        self.destination, self.switched = "postcopy-active", True

    @precondition(lambda self: self.source == "postcopy-device" and self.switched)
    @rule()
    def source_hears_of_it(self) -> None:
        self.source = "postcopy-active"

    @precondition(lambda self: not self.switched)
    @rule(status=sampled_from(["cancelling", "cancelled", "failing", "failed"]))
    def end_before_the_switch(self, status: str) -> None:
        if self.source in ("setup", "active", "device", "postcopy-device"):
            self.source = status

    @precondition(lambda self: self.destination == "postcopy-active")
    @rule(side=sampled_from(["source", "destination"]))
    def link_breaks(self, side: str) -> None:
        if getattr(self, side) == "postcopy-active":
            setattr(self, side, "postcopy-paused")

    @rule(side=sampled_from(["source", "destination"]))
    def recover(self, side: str) -> None:
        follows = {
            "postcopy-paused": "postcopy-recover-setup" if side == "source" else "postcopy-recover",
            "postcopy-recover-setup": "postcopy-recover",
            "postcopy-recover": "postcopy-active",
        }
        setattr(self, side, follows.get(getattr(self, side), getattr(self, side)))

    @precondition(lambda self: self.destination == "postcopy-active" or self.destination == "completed")
    @rule(side=sampled_from(["source", "destination"]))
    def complete(self, side: str) -> None:
        if {self.source, self.destination} <= {"postcopy-active", "completed"}:
            setattr(self, side, "completed")

    @precondition(lambda self: self.switched and "completed" not in (self.source, self.destination))
    @rule(side=sampled_from(["source", "destination"]))
    def a_half_dies(self, side: str) -> None:
        if self.source is None or self.destination is None:
            return
        if side == "destination" and self.source == "postcopy-device":
            self.switched = False  # QEMU's source has everything, and goes on as long as it has not heard of the switch
        else:
            self.broken = True
        setattr(self, side, None)

    @invariant()
    def the_phase_is_safe(self) -> None:
        current = phase(self.source, self.destination)
        assert current.reversible == (not self.switched), (self.source, self.destination, current)
        assert (current is Phase.LOST) == self.broken, (self.source, self.destination, current)
        assert (current is Phase.COMPLETED) == (self.switched and self.source == self.destination == "completed")


TestAlongTheWay = Machine.TestCase
TestAlongTheWay.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
