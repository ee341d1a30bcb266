# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prefetch policies: which pages to request besides the missing one. Data for ``prefetch.bpf.c``.

A page has the page size of its RAMBlock: 4 KiB, or that of hugetlbfs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

READAHEAD_MAX_PAGES = 128


class Shape(NamedTuple):
    """What defines a policy: the share of extra pages before the missing one, and the growth factor of a stream."""

    before: float
    growth: int


POLICIES = {
    "fixed": Shape(before=0, growth=1),  # the paper's N pages: the missing one and those after it
    "around": Shape(before=0.5, growth=1),
    "readahead": Shape(before=0, growth=2),
}


@dataclass(frozen=True)
class Policy:
    """How page requests are lengthened.

    :ivar pages: pages per request, unless it continues a stream of requests.
    :ivar max_pages: upper limit if it does.
    :ivar before_pages: how many of them precede the missing page.
    :ivar growth: factor by which each request of a stream is longer than the one before.
    """

    name: str
    pages: int
    max_pages: int
    before_pages: int
    growth: int

    @property
    def extends(self) -> bool:
        """Whether requests may get longer than QEMU made them."""
        return self.max_pages > 1


def policy(name: str, pages: int, max_pages: int | None = None) -> Policy:
    """The policy of that name.

    :param max_pages: for ``readahead`` only; defaults to ``READAHEAD_MAX_PAGES``.
    :raises ValueError: the arguments contradict each other; the message names the module's options and what to do.
    """
    if name not in POLICIES:
        raise ValueError(f"prefetch_policy: {name} is unknown, use one of {', '.join(POLICIES)}")
    if pages < 1:
        raise ValueError(f"prefetch_pages: {pages} leaves out the missing page: use 1 for no prefetching, or more")
    shape = POLICIES[name]
    if shape.growth > 1:
        max_pages = READAHEAD_MAX_PAGES if max_pages is None else max_pages
    elif max_pages is not None:
        raise ValueError(f"prefetch_max_pages is for policies that grow: leave it out with prefetch_policy: {name}")
    else:
        max_pages = pages
    if pages > max_pages:
        raise ValueError(
            f"prefetch_pages: {pages} is more than prefetch_max_pages: {max_pages}, which {name} grows to: "
            "start with fewer pages or raise the maximum"
        )
    return Policy(name, pages, max_pages, int((pages - 1) * shape.before), shape.growth)
