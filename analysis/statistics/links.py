# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the migration link was the one that the scenario asks for, as it was proved before the trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...plugins.module_utils._link import NO_QUICKACK, Link, is_found, lacks_quickack, remarks
from ...plugins.plugin_utils._records.records import Record
from .quality import NoiseWarning

_ADVICE = (
    "free the machine of other work, and make the lab anew ('make teardown lab'), which proves the link again; "
    "compare these trials with each other"
)
_QUICKACK_ADVICE = "give it one (docs/measurement.md), or compare prefetching with nothing that was measured elsewhere"


def link_warnings(records: Sequence[Record]) -> tuple[NoiseWarning, ...]:
    """Return a warning for all that the proofs of the link remark."""
    links = [record.data["link"] for record in records if record.valid and record.data.get("link")]
    found = dict.fromkeys(remark for link in links for remark in _remarks(link))
    warnings = [NoiseWarning(f"the link: {remark}", _ADVICE) for remark in found]
    if any(lacks_quickack(record.data.get("link")) and record.method.prefetches for record in records if record.valid):
        warnings.append(NoiseWarning(f"the link: {NO_QUICKACK}", _QUICKACK_ADVICE))
    return tuple(warnings)


def _remarks(link: Mapping[str, Any]) -> list[str]:
    if is_found(link):
        return []
    settings, proof = {key: value for key, value in link.items() if key != "proof"}, link["proof"]
    if proof is None or None in (*settings.values(), *proof.values()):
        return ["it was not proved"]
    return remarks(Link(**settings), proof)
