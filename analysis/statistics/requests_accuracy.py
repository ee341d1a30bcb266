# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How good prefetching was: whether pages that were fetched ahead had to be asked for all the same."""

from __future__ import annotations

import numpy as np

from ..data.requests import Pages, Requests


def prefetch_accuracy_percent(requests: Requests) -> float | None:
    """Return the share of prefetched pages that were never asked for afterwards, in percent.

    A page is prefetched when an extended request covers it before it is asked for itself. One that is asked for later
    came too late or was not sent: the guest stopped for it as if there were no prefetching. The wire does not tell
    whether the guest ever used a page that it did not ask for. None when nothing was prefetched.
    """
    if not len(requests.page):
        return None
    pages = int((requests.sent_page + requests.sent).max())
    pages = max(pages, int((requests.page + requests.asked).max()))
    asked = _first_covered(requests.page, requests.asked, pages)
    covered = _first_covered(requests.sent_page, requests.sent, pages)
    is_prefetched = covered < asked
    count = int(is_prefetched.sum())
    if not count:
        return None
    never_asked = asked[is_prefetched] == len(requests.page)
    return 100 * float(never_asked.mean())


def _first_covered(start: Pages, length: Pages, pages: int) -> Pages:
    """Return for each of ``pages`` the number of the first request that covers it; of none, the count of requests."""
    first = np.full(pages, len(start), dtype=np.int64)
    for offset in range(int(length.max())):
        # Backwards, because the last of several assignments to one place stays: that of the earliest request.
        number = np.flatnonzero(length > offset)[::-1]
        place = start[number] + offset
        earliest = np.full(pages, len(start), dtype=np.int64)
        earliest[place] = number
        np.minimum(first, earliest, out=first)
    return first
