# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Warnings about a link that was not the scenario's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.analysis.presentation import wording
from ansible_collections.vcsp.testbed.analysis.statistics.links import link_warnings
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import Record

LINK = {"rate_mbit": 1000, "delay_us": 100, "queue": "fair", "congestion_control": "cubic"}
PROOF = {"ping_us": 203.0, "page_us": 238.0, "bulk_mbit_per_s": 964.0, "cost_cores": 0.15, "proved_at": "2026-01-31"}


FOUND = {**dict.fromkeys(("rate_mbit", "delay_us", "queue")), "congestion_control": "cubic", "mtu": 1500}


def warned(*links: dict[str, Any] | None, prefetch_pages: int = 1) -> list[str]:
    validity = {"valid": True, "reasons": []}
    trial = {"method": {"prefetch_pages": prefetch_pages}}
    records = [Record(Path(), {"link": link, "validity": validity, "trial": trial}) for link in links]
    return [warning.problem for warning in link_warnings(records)]


def test_a_link_that_holds_what_it_promises_is_not_warned_of() -> None:
    assert warned(None, {**LINK, "proof": PROOF}) == [], "nor is one of which nothing is known"


def test_each_proof_that_falls_short_is_warned_of_once() -> None:
    slow = {**LINK, "proof": {**PROOF, "page_us": 300.0, "bulk_mbit_per_s": 500.0}}
    costly = {**LINK, "proof": {**PROOF, "cost_cores": 0.3}}
    assert warned(slow, slow, {**LINK, "proof": PROOF}, costly) == [
        "the link: it is not the one that was asked for: a page takes 300 us instead of 235",
        "the link: it is not the one that was asked for: a stream reaches 500 of 1000 Mbit/s",
        "the link: it takes 30 % of a processor, more than 20 %, which the guests lack",
    ]


@pytest.mark.parametrize("proof", [None, {**PROOF, "ping_us": None}])
def test_a_link_that_was_not_proved_is_warned_of(proof: dict[str, Any] | None) -> None:
    assert warned({**LINK, "proof": proof}) == ["the link: it was not proved"]


@pytest.mark.parametrize(
    ("quickack", "prefetch_pages", "wrong"),
    [(False, 10, True), (False, 1, False), (True, 10, False), (None, 10, False)],
)
def test_real_hosts_are_warned_of_delayed_acknowledgements_where_they_matter(
    quickack: bool | None, prefetch_pages: int, wrong: bool
) -> None:
    link = {**FOUND, "quickack": quickack, "proof": {**PROOF, "cost_cores": None}}
    said = warned(link, link, prefetch_pages=prefetch_pages)
    assert [("lacks quickack" in text) for text in said] == ([True] if wrong else [])


def test_a_link_that_was_found_is_not_called_one_that_was_asked_for() -> None:
    found = {**FOUND, "quickack": True, "proof": {**PROOF, "cost_cores": None}}
    said = {"link as found": "MTU 1500, 203 µs for 16 bytes, 238 µs for a page, 964 Mbit/s for a stream"}
    assert wording._proof([found]) == said
    assert list(wording._proof([{**LINK, "proof": PROOF}])) == ["as proved"]
    assert wording._proof([{**LINK, "proof": None}]) == {}
