# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The numbers behind the prefetch policies, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils._destination.policies import POLICIES, Policy, policy


@pytest.mark.parametrize(
    ("name", "pages", "max_pages", "expected"),
    [
        ("fixed", 1, None, Policy("fixed", pages=1, max_pages=1, before_pages=0, growth=1)),
        ("fixed", 10, None, Policy("fixed", pages=10, max_pages=10, before_pages=0, growth=1)),
        ("around", 1, None, Policy("around", pages=1, max_pages=1, before_pages=0, growth=1)),
        ("around", 10, None, Policy("around", pages=10, max_pages=10, before_pages=4, growth=1)),
        ("around", 11, None, Policy("around", pages=11, max_pages=11, before_pages=5, growth=1)),
        ("readahead", 4, None, Policy("readahead", pages=4, max_pages=128, before_pages=0, growth=2)),
        ("readahead", 4, 4, Policy("readahead", pages=4, max_pages=4, before_pages=0, growth=2)),
        ("readahead", 1, 32, Policy("readahead", pages=1, max_pages=32, before_pages=0, growth=2)),
    ],
)
def test_a_policy_is_four_numbers(name: str, pages: int, max_pages: int | None, expected: Policy) -> None:
    assert policy(name, pages, max_pages) == expected


@pytest.mark.parametrize(
    ("name", "pages", "max_pages", "extends"),
    [
        ("fixed", 1, None, False),
        ("fixed", 2, None, True),
        ("around", 1, None, False),
        ("around", 2, None, True),
        ("readahead", 1, None, True),
        ("readahead", 1, 1, False),
    ],
)
def test_whether_a_policy_extends_requests(name: str, pages: int, max_pages: int | None, extends: bool) -> None:
    assert policy(name, pages, max_pages).extends is extends


@pytest.mark.parametrize(
    ("name", "pages", "max_pages", "advice"),
    [
        ("backwards", 10, None, "prefetch_policy: backwards is unknown, use one of fixed, around, readahead"),
        ("fixed", 0, None, "prefetch_pages: 0 .* use 1 for no prefetching, or more"),
        ("readahead", -1, None, "prefetch_pages: -1 .* use 1 for no prefetching, or more"),
        ("fixed", 10, 10, "prefetch_max_pages .* leave it out with prefetch_policy: fixed"),
        ("around", 10, 20, "prefetch_max_pages .* leave it out with prefetch_policy: around"),
        ("readahead", 200, None, "prefetch_pages: 200 is more than prefetch_max_pages: 128.* raise the maximum"),
        ("readahead", 9, 8, "prefetch_pages: 9 is more than prefetch_max_pages: 8.* start with fewer pages"),
    ],
)
def test_contradictory_settings_are_refused_with_advice(
    name: str, pages: int, max_pages: int | None, advice: str
) -> None:
    with pytest.raises(ValueError, match=advice):
        policy(name, pages, max_pages)


@given(name=st.sampled_from([*POLICIES]), pages=st.integers(1, 128))
def test_the_missing_page_is_always_requested(name: str, pages: int) -> None:
    found = policy(name, pages)
    assert 0 <= found.before_pages < found.pages <= found.max_pages
    assert found.growth >= 1
