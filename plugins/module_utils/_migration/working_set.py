# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the guest's working set has arrived on the destination."""

from __future__ import annotations

from .._measure.readings import Readings, Settings
from .pace import Watch

# A guest that asked for no page for this long has its working set.
QUIET_S = 1.0


class Arrival:
    """Tells when the working window was walked once, or no page is asked for any more."""

    def __init__(self, settings: Settings, readings: Readings) -> None:
        self._channel, self._pages = readings.destination_channel, settings.window_pages
        self._requests = Watch()

    def walked(self) -> bool:
        """Whether the guest has walked its working window since its first line from here."""
        samples = self._channel.samples if self._channel is not None else []
        if not samples or self._pages is None:
            return False
        first, last = samples[0].visits, samples[-1].visits
        # Each walker has a slice of the window, and that many visits in a row touch all of it.
        slice_pages = -(-self._pages // len(first))
        return all(now - before >= slice_pages for before, now in zip(first, last, strict=True))

    def seen(self, requests: int) -> bool:
        """The same, or that ``requests`` has not grown for a while."""
        return self.walked() or self._requests.quiet_s(requests) > QUIET_S
