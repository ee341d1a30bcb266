# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the destination had its processors for itself, or a hypervisor below it gave them to others (steal time)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from ...plugins.plugin_utils._records.records import Record
from .quality import NoiseWarning

# A few percent are lost on any shared machine, and scatter shows them.
_BOUND_PERCENT = 5.0
_ADVICE = (
    "measure on a machine of its own, or when its neighbours are quiet: times and rates are those of what was left"
)


def stolen_warnings(records: Sequence[Record]) -> tuple[NoiseWarning, ...]:
    """Return a warning if much was taken away during the trials, valid or not."""
    readings = (record.reading("processors", "stolen_percent") for record in records)
    known = [percent for percent in readings if percent is not None]
    if not known or fmean(known) <= _BOUND_PERCENT:
        return ()
    problem = (
        f"other virtual machines took {fmean(known):.0f} % of the destination's processors during the trials, "
        f"{max(known):.0f} % in the worst one"
    )
    return (NoiseWarning(problem, _ADVICE),)
