# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a guest stands, for everything an earlier call may have left behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils._migration.standing import Seen, Standing, standing

STATUSES = st.sampled_from([
    "none", "setup", "cancelling", "cancelled", "active", "postcopy-device", "postcopy-active", "postcopy-paused",
    "postcopy-recover-setup", "postcopy-recover", "completed", "failed", "pre-switchover", "device", "wait-unplug",
    "failing", "colo",
])  # fmt: skip
RUN_STATES = st.sampled_from(["running", "paused", "inmigrate", "postmigrate", "finish-migrate", "internal-error"])
SEEN = st.builds(Seen, STATUSES, RUN_STATES, st.booleans())


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        (None, None, Standing.ABSENT),
        (Seen("none", "running"), None, Standing.READY),
        (Seen("completed", "running"), None, Standing.READY),  # restored from a file, which is a migration, too
        (Seen("cancelled", "running"), None, Standing.READY),
        (Seen("none", "paused"), None, Standing.READY),  # arrives paused
        (Seen("none", "io-error"), None, Standing.STOPPED),
        (Seen("none", "shutdown"), None, Standing.STOPPED),
        (Seen("failing", "paused"), None, Standing.MIGRATING),
        (Seen("postcopy-device", "finish-migrate"), None, Standing.MIGRATING),  # QEMU resumes it
        (Seen("active", "running"), None, Standing.MIGRATING),
        (Seen("completed", "postmigrate"), None, Standing.LEFT),  # resumed, it would go back in time
        (Seen("completed", "postmigrate"), Seen("none", "inmigrate", True), Standing.LEFT),
        (Seen("postcopy-paused", "paused"), None, Standing.LOST),
        (Seen("postcopy-active", "postmigrate"), None, Standing.LOST),
        (Seen("none", "running"), Seen("none", "inmigrate", True), Standing.WAITING),
        (Seen("active", "running"), Seen("active", "inmigrate", True), Standing.WAITING),
        (Seen("failed", "running"), Seen("none", "inmigrate", True), Standing.WAITING),
        (Seen("device", "finish-migrate"), Seen("active", "inmigrate", True), Standing.WAITING),
        (Seen("none", "paused"), Seen("none", "inmigrate", True), Standing.WAITING),
        (Seen("none", "io-error"), Seen("none", "inmigrate", True), Standing.STOPPED),
        (Seen("postcopy-device", "finish-migrate"), Seen("postcopy-device", "inmigrate", True), Standing.WAITING),
        (Seen("postcopy-device", "finish-migrate"), Seen("postcopy-active", "running", True), Standing.HALF),
        (Seen("postcopy-active", "postmigrate"), Seen("postcopy-active", "running", True), Standing.HALF),
        (Seen("postcopy-paused", "postmigrate"), Seen("postcopy-paused", "running", True), Standing.HALF),
        (Seen("completed", "postmigrate"), Seen("completed", "running", True), Standing.ENDED),
        (Seen("postcopy-paused", "paused"), Seen("completed", "running", True), Standing.ENDED),
        # A guest that was migrated here earlier, and one of the same name restored on the source since.
        (Seen("completed", "running"), Seen("completed", "running", True), Standing.OCCUPIED),
        (Seen("completed", "paused"), Seen("completed", "running", True), Standing.OCCUPIED),
        (Seen("none", "running"), Seen("none", "running"), Standing.OCCUPIED),
        (Seen("none", "running"), Seen("completed", "running", True), Standing.OCCUPIED),
        (None, Seen("completed", "running", True), Standing.HOME),
        (None, Seen("none", "running"), Standing.HOME),
        (None, Seen("none", "inmigrate", True), Standing.ABSENT),
        (None, Seen("postcopy-paused", "running", True), Standing.LOST),
        (None, Seen("postcopy-device", "inmigrate", True), Standing.ABSENT),
        (None, Seen("sent-by-pigeon", "running", True), Standing.UNKNOWN),
        (Seen("sent-by-pigeon", "running"), None, Standing.UNKNOWN),
    ],
)
def test_standings(source: Seen | None, destination: Seen | None, expected: Standing) -> None:
    assert standing(source, destination) is expected


@given(st.none() | SEEN, SEEN.filter(lambda seen: not seen.incoming))
def test_a_guest_that_is_not_ours_is_never_a_half(source: Seen | None, destination: Seen) -> None:
    assert standing(source, destination) not in (Standing.HALF, Standing.ENDED, Standing.WAITING)


@given(SEEN, st.none() | SEEN)
def test_a_running_source_is_never_destroyed(source: Seen, destination: Seen | None) -> None:
    if source.run_state == "running" and destination is not None and destination.run_state == "running":
        assert standing(source, destination) in (Standing.OCCUPIED, Standing.UNKNOWN)


@given(SEEN, SEEN)
def test_only_a_waiting_destination_is_destroyed_to_start_afresh(source: Seen, destination: Seen) -> None:
    if standing(source, destination) is Standing.WAITING:
        assert destination.run_state == "inmigrate"
