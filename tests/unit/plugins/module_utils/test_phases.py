# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The phase of a migration, for every pair of statuses and along every path a migration may take."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.strategies import booleans, sampled_from

from ansible_collections.vcsp.testbed.plugins.module_utils._migration.phases import Phase, phase

# MigrationStatus (QEMU's qapi/migration.json), and None for a QEMU that is gone.
STATUSES = (
    None,
    "none",
    "setup",
    "cancelling",
    "cancelled",
    "active",
    "postcopy-device",
    "postcopy-active",
    "postcopy-paused",
    "postcopy-recover-setup",
    "postcopy-recover",
    "completed",
    "failed",
    "colo",
    "pre-switchover",
    "device",
    "wait-unplug",
)
PAIRS = list(product(STATUSES, STATUSES))


def is_postcopy(status: str | None) -> bool:
    return status is not None and status.startswith("postcopy")


@pytest.mark.parametrize(("source", "destination"), PAIRS)
def test_no_migration_is_reversible_once_a_side_is_in_postcopy(source: str | None, destination: str | None) -> None:
    if is_postcopy(source) or is_postcopy(destination):
        assert not phase(source, destination).reversible


@pytest.mark.parametrize(("source", "destination"), PAIRS)
def test_a_destination_with_all_memory_is_never_rolled_back(source: str | None, destination: str | None) -> None:
    if destination == "completed":
        assert phase(source, destination) in (Phase.COMPLETED, Phase.POSTCOPY)


@pytest.mark.parametrize(("source", "destination"), PAIRS)
def test_lost_only_if_the_guest_or_half_of_it_is_gone(source: str | None, destination: str | None) -> None:
    lost = phase(source, destination) is Phase.LOST
    gone = {None, "failed"} & {source, destination}
    switched = is_postcopy(source) or is_postcopy(destination) or source == "completed"
    whole_guest_gone = source is None
    assert lost == bool(gone and (switched or whole_guest_gone) and destination != "completed")


@pytest.mark.parametrize(("source", "destination"), PAIRS)
def test_completed_only_if_the_destination_says_so(source: str | None, destination: str | None) -> None:
    assert (phase(source, destination) is Phase.COMPLETED) == (
        destination == "completed" and source in ("completed", "postcopy-paused", "failed", None)
    )


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        ("none", "none", Phase.PREPARING),
        ("setup", "setup", Phase.PREPARING),
        ("completed", "setup", Phase.PREPARING),  # left over from the migration that brought the guest
        ("active", "active", Phase.PRECOPY),
        ("device", "active", Phase.PRECOPY),
        ("postcopy-device", "active", Phase.POSTCOPY),
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
    @rule(status=sampled_from(["postcopy-device", "postcopy-active"]))
    def switch(self, status: str) -> None:
        self.source, self.switched = status, True

    @precondition(lambda self: self.source == "postcopy-device")
    @rule()
    def resumed(self) -> None:
        self.source = "postcopy-active"

    @precondition(lambda self: not self.switched)
    @rule(status=sampled_from(["cancelling", "cancelled", "failed"]))
    def end_before_the_switch(self, status: str) -> None:
        if self.source in ("setup", "active", "device"):
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

    @precondition(lambda self: "postcopy-active" in (self.source, self.destination))
    @rule(side=sampled_from(["source", "destination"]))
    def complete(self, side: str) -> None:
        if {self.source, self.destination} <= {"postcopy-active", "completed"}:
            setattr(self, side, "completed")

    @precondition(lambda self: self.switched and "completed" not in (self.source, self.destination))
    @rule(side=sampled_from(["source", "destination"]))
    def a_half_dies(self, side: str) -> None:
        if self.source is not None and self.destination is not None:
            setattr(self, side, None)
            self.broken = True

    @invariant()
    def the_phase_is_safe(self) -> None:
        current = phase(self.source, self.destination)
        assert current.reversible == (not self.switched), (self.source, self.destination, current)
        assert (current is Phase.LOST) == self.broken, (self.source, self.destination, current)
        assert (current is Phase.COMPLETED) == (self.switched and self.source == self.destination == "completed")


TestAlongTheWay = Machine.TestCase
TestAlongTheWay.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
