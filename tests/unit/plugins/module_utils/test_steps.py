# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The next step of a migration: its rules in every situation, and a model of two QEMUs whose guest must get home."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ansible_collections.vcsp.testbed.plugins.module_utils._migration.phases import Phase
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.steps import Situation, Step, next_step

STATUSES = (
    None, "none", "setup", "cancelling", "cancelled", "active", "postcopy-device", "postcopy-active", "postcopy-paused",
    "postcopy-recover-setup", "postcopy-recover", "completed", "failed", "pre-switchover", "device", "wait-unplug",
    "failing", "colo",
)  # fmt: skip
SITUATIONS = st.builds(
    Situation,
    source=st.sampled_from(STATUSES),
    destination=st.sampled_from(STATUSES),
    started=st.booleans(),
    switching=st.booleans(),
    switched=st.booleans(),
    held=st.booleans(),
    throttled=st.booleans(),
    arrived=st.booleans(),
    quiet_s=st.floats(0, 100),
    lifts_early=st.booleans(),
    failure=st.sampled_from([None, "cancelled"]),
    taken_over=st.booleans(),
)
POSTCOPY = Situation("postcopy-active", "postcopy-active", switching=True, switched=True)


@given(SITUATIONS)
def test_a_guest_once_in_postcopy_is_never_rolled_back(now: Situation) -> None:
    if now.switched or (now.started and not now.phase.reversible):
        assert next_step(now) not in (Step.ROLL_BACK, Step.START, Step.SWITCH)


@given(SITUATIONS)
def test_finished_only_when_the_destination_has_all_memory(now: Situation) -> None:
    if next_step(now) is Step.FINISH:
        assert now.destination == "completed"


@given(SITUATIONS)
def test_no_recovery_before_both_sides_are_paused(now: Situation) -> None:
    if next_step(now) is Step.RECOVER:
        assert {now.source, now.destination} == {"postcopy-paused"}


@given(st.sampled_from(STATUSES))
def test_a_qemu_that_seems_gone_before_the_switch_latches_nothing(destination: str | None) -> None:
    before = Situation("active", "active", switching=True)
    again = before.seen(None, destination).seen("active", "active")
    assert again.reversible == (destination is None or not before.seen("active", destination).switched)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (Situation("none", "none", started=False), Step.START),
        (Situation("none", "none", started=False, failure="cancelled"), Step.ROLL_BACK),
        (Situation("active", "active"), Step.SWITCH),
        (Situation("active", "setup"), Step.WAIT),  # it may still refuse the source's certificate
        (Situation("active", "none"), Step.WAIT),
        (Situation("active", "active", failure="cancelled"), Step.ROLL_BACK),
        (Situation("active", "active", switching=True), Step.SWITCH),  # the command may have been lost
        # A cancel might race with the switch; only a migration without progress is rolled back.
        (Situation("active", "active", switching=True, failure="cancelled"), Step.WAIT),
        (Situation("active", "active", switching=True, failure="cancelled", quiet_s=16), Step.ROLL_BACK),
        (Situation("device", "active", switching=True, quiet_s=16), Step.ROLL_BACK),
        (Situation("failed", "none"), Step.ROLL_BACK),
        (Situation("active", None), Step.ROLL_BACK),
        (Situation("failing", "active"), Step.ROLL_BACK),
        (Situation("postcopy-device", "postcopy-device", switching=True), Step.WAIT),
        (Situation("postcopy-device", "postcopy-device", switching=True, failure="cancelled"), Step.WAIT),
        (Situation("postcopy-device", None, switching=True), Step.ROLL_BACK),
        (Situation("sent-by-pigeon", "active", quiet_s=16), Step.WAIT),
        (POSTCOPY, Step.WAIT),
        (replace(POSTCOPY, held=True), Step.WAIT),
        (replace(POSTCOPY, held=True, arrived=True), Step.RELEASE),
        (replace(POSTCOPY, held=True, failure="cancelled"), Step.RELEASE),
        (replace(POSTCOPY, throttled=True, lifts_early=True), Step.WAIT),
        (replace(POSTCOPY, throttled=True, lifts_early=True, arrived=True), Step.LIFT_QUOTA),
        (replace(POSTCOPY, throttled=True, arrived=True), Step.WAIT),
        (replace(POSTCOPY, quiet_s=16), Step.PAUSE),
        (replace(POSTCOPY, source="postcopy-paused"), Step.PAUSE),
        (replace(POSTCOPY, source="postcopy-paused", destination="postcopy-paused"), Step.RECOVER),
        (replace(POSTCOPY, source="postcopy-recover-setup", destination="postcopy-paused"), Step.WAIT),
        (replace(POSTCOPY, source="postcopy-recover", destination="postcopy-recover", quiet_s=16), Step.PAUSE),
        (replace(POSTCOPY, source="postcopy-paused", destination="completed"), Step.FINISH),
        (replace(POSTCOPY, source="completed", destination="completed"), Step.FINISH),
        (replace(POSTCOPY, destination=None), Step.REPORT_LOST),
        (replace(POSTCOPY, source=None), Step.REPORT_LOST),
    ],
)
def test_steps(now: Situation, expected: Step) -> None:
    assert next_step(now) is expected


class TwoQemus(RuleBasedStateMachine):
    """QEMU's statuses as documented, a link that breaks and heals, an operator who cancels."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Situation("none", "none", started=False, held=True, throttled=True, lifts_early=True)
        self.link = True
        self.given_back = False

    @property
    def over(self) -> bool:
        return self.given_back or self.now.phase is Phase.COMPLETED

    @rule()
    def cut(self) -> None:
        self.link = False

    @rule()
    def heal(self) -> None:
        self.link = True

    @rule()
    def cancel(self) -> None:
        self.now = replace(self.now, failure="cancelled")

    @rule()
    def walk(self) -> None:
        if self.now.switched:
            self.now = replace(self.now, arrived=True)

    @precondition(lambda self: not self.over)
    @rule()
    def kernel_notices_a_cut_link(self) -> None:
        if not self.link and self.now.source == "postcopy-active":
            self.now = replace(self.now, source="postcopy-paused")

    @precondition(lambda self: not self.over)
    @rule()
    def step(self) -> None:
        """Look, take the step, let the QEMUs answer."""
        now = replace(self.now, quiet_s=0 if self.link else 16)
        step, changes = next_step(now), {}
        if step is Step.START:
            changes = {"started": True, "source": "active" if self.link else "failed", "destination": "active"}
        elif step is Step.SWITCH and self.link and now.switching:
            changes = {"source": "postcopy-active", "destination": "postcopy-active", "switched": True}
        elif step is Step.SWITCH:
            changes = {"switching": True}
        elif step is Step.ROLL_BACK:
            assert self.now.source != "postcopy-active"
            self.given_back = True
        elif step is Step.PAUSE:
            changes = {"source": "postcopy-paused", "destination": "postcopy-paused"}
        elif step is Step.RECOVER and self.link:
            changes = {"source": "postcopy-active", "destination": "postcopy-active"}
        elif step is Step.RECOVER:
            changes = {"source": "postcopy-recover-setup"}
        elif step is Step.RELEASE:
            changes = {"held": False}
        elif step is Step.LIFT_QUOTA:
            changes = {"throttled": False}
        elif step is Step.WAIT and self.link and now.source == "active" and now.switching:
            changes = {"source": "postcopy-active", "destination": "postcopy-active", "switched": True}
        elif step is Step.WAIT and self.link and now.source == "postcopy-active" and not now.held:
            changes = {"source": "completed", "destination": "completed"}
        elif step is Step.WAIT and now.source == "postcopy-recover-setup":
            changes = {"source": "postcopy-paused"}
        self.now = replace(self.now, **changes)

    @invariant()
    def the_guest_is_never_lost(self) -> None:
        assert not (self.given_back and self.now.switched)

    def teardown(self) -> None:
        """Once the link is up and the guest has walked, the guest gets home in a few steps."""
        self.heal()
        for _attempt in range(12):
            self.walk()
            if not self.over:
                self.step()
        assert self.over, self.now


TestTwoQemus = TwoQemus.TestCase
TestTwoQemus.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
