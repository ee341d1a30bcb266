# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of the guest's workload, as it sends them and as a broken one might."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils.telemetry import Sample, Verified, has_channel, parse

words = st.one_of(
    st.sampled_from(["sample", "verified", "ready", "error"]), st.text(), st.integers().map(str), st.just("9" * 400)
)


def test_every_kind_of_line() -> None:
    assert parse("sample 1f3e 2500000000 300 4 1500000", "source", 7.5) == Sample(
        7.5, "source", "1f3e", 2.5, 300, 4, 1.5, (300,)
    )
    assert parse("sample 1f3e 0 300 0 0 100 200", "source", 0) == Sample(0, "source", "1f3e", 0, 300, 0, 0, (100, 200))
    assert parse("verified 2048 1", "source", 0) == Verified(2048, 1)
    assert parse("ready 1f3e", "source", 0) == "1f3e"
    assert parse("error no memory for the window", "source", 0) is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        " ",
        "sample",
        "sample 1f3e 25",
        "sample 1f3e 1 2 3 4 five",
        "sample 1f3e 1 2 three 4",
        "verified",
        "verified 1",
        "ready",
        "ample 1f3e 1 2 3 4",
    ],
)
def test_half_a_line_is_nothing(line: str) -> None:
    assert parse(line, "source", 0) is None


@given(st.one_of(st.text(), st.lists(words, max_size=7).map(" ".join)))
def test_no_line_raises(line: str) -> None:
    assert isinstance(parse(line, "destination", 1.0), Sample | Verified | str | None)


@given(st.integers(0, 2**63), st.integers(0, 2**63), st.integers(0, 2**63), st.integers(0, 2**63))
def test_every_sample_of_the_workload_is_understood(time_ns: int, pages: int, stalls: int, stall_ns: int) -> None:
    found = parse(f"sample boot {time_ns} {pages} {stalls} {stall_ns}", "source", 1.0)
    assert isinstance(found, Sample)
    assert (found.pages, found.stalls) == (pages, stalls)


def test_the_channel_is_found_by_its_name() -> None:
    xml = "<domain><devices><channel><target type='virtio' name='{}'/></channel></devices></domain>"
    assert has_channel(xml.format("vcsp.telemetry"))
    assert not has_channel(xml.format("org.qemu.guest_agent.0"))
    assert not has_channel("<domain/>")
