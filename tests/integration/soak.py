# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Migrates one guest back and forth under load, with the paper's methods in turn and faults at random.

Continues where an earlier run ended, until COUNT migrations are recorded. Faults that destroy memory are left out.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Any

from . import attempt, ledger
from .conftest import ROOT, other
from .faults import FAULTS
from .signals import Stop

METHODS = {
    "post-copy": {},
    "post-copy-prefetching": {"prefetch_pages": 10},
    "vcsp": {"vcpu_quota_percent": 50},
    "vcsp-prefetching": {"vcpu_quota_percent": 50, "prefetch_pages": 10},
}
CELLS = [
    (fault, phase)
    for fault in FAULTS.values()
    for phase in fault.outcome
    if not fault.destroys(phase) and not fault.long
]
FAULT_SHARE = 0.5
SETTINGS: dict[str, dict[str, Any]] = {
    "debian": {"max_postcopy_bandwidth_mb_per_s": 30},
    "bare": {"max_postcopy_bandwidth_mb_per_s": 30, "window_mb": attempt.WINDOW_MB["bare"]},
}


def main() -> int:
    """Run the soak; 1 if the guest was lost, or anything else was not as it must be."""
    options = arguments()
    if options.fresh:
        options.out.unlink(missing_ok=True)
    lines = ledger.read(options.out)
    return report(lines, options.page) if options.summary else run(lines, options)


def run(lines: list[ledger.Line], options: argparse.Namespace) -> int:
    """Migrate until there are enough lines, or somebody asks to stop."""
    stop = Stop()
    with attempt.lab(options.out.parent, options.system):
        began, done_before = time.monotonic(), len(lines)
        attempt.restore(options.system)  # a guest that is there already may be another one
        while len(lines) < options.count and not stop.asked:
            line = migrate(lines, options.seed, options.system)
            lines.append(line)
            ledger.append(options.out, line)
            left = (time.monotonic() - began) / (len(lines) - done_before) * (options.count - len(lines))
            fault = f"{line['fault']} in {line['phase']}" if line["fault"] else "no fault"
            bad = f"  BAD: {line['reason']} {line['leftovers']}" if ledger.is_bad(line) else ""
            missed = "" if line["hit"] or not line["fault"] else " (missed)"
            print(
                f"{len(lines)}/{options.count} to the {line['to']}: {fault}{missed}, {line['found']}, "
                f"{line['seconds']:.0f} s; {left / 60:.0f} min left{bad}",
                flush=True,
            )
    return report(lines, options.page)


def report(lines: list[ledger.Line], page: Path | None) -> int:
    """Print the summary, and write it to a page; 1 if anything was not as it must be."""
    summary = ledger.soak_page(lines)
    if page is not None:
        page.write_text(summary)
    print(summary)
    return int(any(map(ledger.is_bad, lines)))


def migrate(lines: list[ledger.Line], seed: str, system: str) -> ledger.Line:
    """The next migration, to the host where the guest is not; a guest that was lost is restored."""
    here = attempt.whereabouts()
    if here is None:
        attempt.restore(system)
        here = "source"
    number = len(lines)
    dice = random.Random(f"{seed}/{number}")
    sent = [line["sent_kb"] for line in lines if line["sent_kb"] and not (line["fault"] and line["hit"])]
    name = list(METHODS)[number % len(METHODS)]
    settings = {**METHODS[name], **SETTINGS[system]}
    # The first ones tell how much a migration sends.
    fault, phase = dice.choice(CELLS) if sent and dice.random() < FAULT_SHARE else (None, None)
    if fault is not None:
        line = attempt.attempt(fault, phase, other(here), f"{seed}/{number}", 1024 * round(min(sent[-8:])), **settings)
    else:
        line = attempt.attempt(None, None, other(here), f"{seed}/{number}", 0, **settings)
    return {**line, "method": name, "system": system}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200, help="migrations in all runs together (default: 200)")
    parser.add_argument("--seed", default="1", help="of the faults and their moments (default: 1)")
    parser.add_argument(
        "--system",
        choices=list(SETTINGS),
        default="debian",
        help="the guest; bare is under KVM (default: debian)",
    )
    parser.add_argument(
        "--out", type=Path, help="where each is recorded (default: results/soak.jsonl or soak-bare.jsonl)"
    )
    parser.add_argument("--page", type=Path, help="write the summary there, too")
    parser.add_argument("--summary", action="store_true", help="only summarise what is recorded")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    options = parser.parse_args()
    options.out = options.out or ROOT / f"results/soak{'-bare' if options.system == 'bare' else ''}.jsonl"
    return options


if __name__ == "__main__":
    sys.exit(main())
