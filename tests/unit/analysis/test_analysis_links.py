# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Warnings about a link that was not the scenario's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.analysis.statistics.links import link_warnings
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import Record

LINK = {"rate_mbit": 1000, "delay_us": 100, "queue": "fair", "congestion_control": "cubic"}
PROOF = {"ping_us": 203.0, "page_us": 238.0, "bulk_mbit_per_s": 964.0, "cost_cores": 0.15, "proved_at": "2026-01-31"}


def warned(*links: dict[str, Any] | None) -> list[str]:
    validity = {"valid": True, "reasons": []}
    return [
        warning.problem
        for warning in link_warnings(Record(Path(), {"link": link, "validity": validity}) for link in links)
    ]


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
