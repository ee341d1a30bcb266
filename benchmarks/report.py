# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the benchmarks' reports share: medians with their spread, facts about the machine, Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from scipy import stats

CONFIDENCE = 0.95


class Spread(NamedTuple):
    """A median and its 95 % interval, with the number of values behind them."""

    median: float
    low: float
    high: float
    n: int

    def text(self, digits: int = 0) -> str:
        """Return "71 [68, 79]"."""
        return f"{self.median:,.{digits}f} [{self.low:,.{digits}f}, {self.high:,.{digits}f}]"


def spread(values: Sequence[float]) -> Spread:
    """Return the median of ``values`` with an interval between two of them, which assumes no distribution.

    The number of values below the true median is binomial. Fewer than six values cannot give 95 %: the interval is then
    their whole range, which for five values covers the median with 94 %.
    """
    ordered, n = sorted(values), len(values)
    place = max(1, int(stats.binom.ppf((1 - CONFIDENCE) / 2, n, 0.5)))
    return Spread(median(ordered), ordered[place - 1], ordered[n - place], n)


def machine(host: Mapping[str, Any], controller: Mapping[str, Any]) -> str:
    """Describe the machine measured on, from a lab host's ``testbed_info`` and the controller's provenance."""
    accelerator = host["accelerator"]["name"].upper()
    return (
        f"{host['cpu']['count']} x {host['cpu']['model']}, {host['distribution']}, kernel {host['kernel']}; "
        f"QEMU {host['qemu']['version']} with {accelerator}, libvirt {host['libvirt']['version']}; "
        f"commit {(controller['commit'] or 'unknown')[:12]}{' with changes' if controller['dirty'] else ''}"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first hold numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
