# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the guest ran at the rate of its workload."""

from __future__ import annotations

from collections.abc import Iterable

from ...plugins.module_utils._link import NO_QUICKACK
from ...plugins.plugin_utils._records.printable import printable
from ...plugins.plugin_utils._records.records import Record
from .quality import NoiseWarning

_ADVICE = "free the machine of other work, or ask for a lower rate_mb_per_s, and run the trial again"


def rate_warnings(records: Iterable[Record]) -> tuple[NoiseWarning, ...]:
    """Return a warning for each caution of the valid trials."""
    return tuple(
        NoiseWarning(f"{record.trial_id}: {printable(caution)}", _ADVICE)
        for record in records
        if record.valid
        for caution in record.data["cautions"]
        if caution != NO_QUICKACK  # a warning of the link's, once for all trials
    )
