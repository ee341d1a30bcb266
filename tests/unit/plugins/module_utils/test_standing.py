# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a guest stands, for what an earlier call may have left behind at any moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils._migration.standing import Seen, Standing, standing

STATUSES = st.sampled_from([
    "none", "setup", "cancelling", "cancelled", "active", "postcopy-device", "postcopy-active", "postcopy-paused",
    "postcopy-recover-setup", "postcopy-recover", "completed", "failed", "pre-switchover", "device", "wait-unplug",
])  # fmt: skip
RUN_STATES = st.sampled_from(["running", "paused", "inmigrate", "postmigrate", "finish-migrate", "internal-error"])
SEEN = st.builds(Seen, STATUSES, RUN_STATES, st.booleans())


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        (None, None, Standing.ABSENT),
        (Seen("none", "running"), None, Standing.READY),
        (Seen("completed", "running"), None, Standing.READY),  # restored from a file: that was a migration, too
        (Seen("cancelled", "running"), None, Standing.READY),
        (Seen("none", "paused"), None, Standing.STOPPED),
        (Seen("active", "running"), None, Standing.MIGRATING),
        (Seen("postcopy-paused", "paused"), None, Standing.LOST),
        (Seen("postcopy-active", "postmigrate"), None, Standing.LOST),
        (Seen("none", "running"), Seen("none", "inmigrate", True), Standing.WAITING),
        (Seen("active", "running"), Seen("active", "inmigrate", True), Standing.WAITING),
        (Seen("failed", "running"), Seen("none", "inmigrate", True), Standing.WAITING),
        (Seen("device", "finish-migrate"), Seen("active", "inmigrate", True), Standing.WAITING),
        (Seen("none", "paused"), Seen("none", "inmigrate", True), Standing.STOPPED),
        (Seen("postcopy-active", "postmigrate"), Seen("postcopy-active", "running", True), Standing.HALF),
        (Seen("postcopy-paused", "postmigrate"), Seen("postcopy-paused", "running", True), Standing.HALF),
        (Seen("completed", "postmigrate"), Seen("completed", "running", True), Standing.ENDED),
        (Seen("postcopy-paused", "paused"), Seen("completed", "running", True), Standing.ENDED),
        # A guest that came here earlier, and another one of its name that was restored on the source since.
        (Seen("completed", "running"), Seen("completed", "running", True), Standing.OCCUPIED),
        (Seen("none", "running"), Seen("none", "running"), Standing.OCCUPIED),
        (Seen("none", "running"), Seen("completed", "running", True), Standing.OCCUPIED),
        (None, Seen("completed", "running", True), Standing.HOME),
        (None, Seen("none", "running"), Standing.HOME),
        (None, Seen("none", "inmigrate", True), Standing.ABSENT),
        (None, Seen("postcopy-paused", "running", True), Standing.LOST),
    ],
)
def test_every_place_has_a_name(source: Seen | None, destination: Seen | None, expected: Standing) -> None:
    assert standing(source, destination) is expected


@given(st.none() | SEEN, SEEN.filter(lambda seen: not seen.incoming))
def test_a_guest_that_is_not_ours_is_never_a_half(source: Seen | None, destination: Seen) -> None:
    assert standing(source, destination) not in (Standing.HALF, Standing.ENDED, Standing.WAITING)


@given(SEEN, st.none() | SEEN)
def test_a_source_that_runs_is_never_ended(source: Seen, destination: Seen | None) -> None:
    if source.run_state == "running" and destination is not None and destination.run_state == "running":
        assert standing(source, destination) is Standing.OCCUPIED


@given(SEEN, SEEN)
def test_only_a_destination_that_still_waits_is_ended_to_start_afresh(source: Seen, destination: Seen) -> None:
    if standing(source, destination) is Standing.WAITING:
        assert destination.run_state == "inmigrate"
