# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the guest's working set is on the destination."""

from __future__ import annotations

from .._guest.telemetry import Channel
from .pace import Watch

# A guest that requested no page for this long has its working set.
QUIET_S = 1.0


class WorkingSet:
    """Detects that the working window was walked once, or that pages are no longer requested.

    :param channel: the guest's telemetry from the destination; None if it has none.
    :param window_pages: the working window in pages of 4 KiB; None if unknown.
    """

    def __init__(self, channel: Channel | None, window_pages: int | None) -> None:
        self._channel, self._window_pages = channel, window_pages
        self._requests = Watch()

    def walked(self) -> bool:
        """Whether the guest has walked its working window since its first line from the destination."""
        samples = self._channel.samples if self._channel is not None else []
        if not samples or self._window_pages is None:
            return False
        first, last = samples[0].visits, samples[-1].visits
        # Each walker has a slice of the window, and that many consecutive visits cover it.
        slice_pages = -(-self._window_pages // len(first))
        return all(now - before >= slice_pages for before, now in zip(first, last, strict=True))

    def arrived(self, requests: int) -> bool:
        """Whether it has, or ``requests`` has not grown for a while."""
        return self.walked() or self._requests.quiet_s(requests) > QUIET_S
