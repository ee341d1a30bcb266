# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Injects every fault in every phase in which it makes sense, until each has hit COUNT times over all runs.

An attempt whose fault missed its phase is recorded and repeated. What was found goes into a table.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from . import attempt, ledger
from .conftest import ROOT
from .faults import FAULTS
from .signals import Stop

CELLS = [(fault.name, phase) for fault in FAULTS.values() for phase in fault.outcome]
EXPECTED = {
    # What a killed module leaves is completed by a further call.
    (name, phase): "home, by the next call" if FAULTS[name].ends else " or ".join(FAULTS[name].outcome[phase])
    for name, phase in CELLS
}
MISSES = 3  # in a row, and a cell is left for the next run
METHOD = {"vcpu_quota_percent": 50, "prefetch_pages": 10}


def main() -> int:
    """Run what is missing; 1 if anything was not as it must be."""
    options = arguments()
    cells = [cell for cell in CELLS if options.only in f"{cell[0]}/{cell[1]}"]
    if options.fresh:
        options.out.unlink(missing_ok=True)
    lines = ledger.read(options.out)
    if not options.summary:
        run(lines, cells, options)
    page = ledger.fault_page(lines, CELLS, EXPECTED)
    if options.page is not None:
        options.page.write_text(page)
    print(page)
    return int(any(map(ledger.is_bad, lines)) or bool(ledger.pending(cells, lines, options.count)))


def run(lines: list[ledger.Line], cells: list[tuple[str, str]], options: argparse.Namespace) -> None:
    """Try what has not hit often enough, until it has or somebody asks to stop."""
    stop = Stop()
    with attempt.lab(options.out.parent):
        todo = ledger.pending(cells, lines, options.count)
        whole_bytes = measure() if todo else 0
        began = time.monotonic()
        for number, (name, phase) in enumerate(todo):
            for _miss in range(MISSES):
                if stop.asked:
                    break
                attempt.restore()
                seed = f"{options.seed}/{name}/{phase}/{len(lines)}"
                line = attempt.attempt(FAULTS[name], phase, "destination", seed, whole_bytes, **METHOD)
                lines.append(line)
                ledger.append(options.out, line)
                left = (time.monotonic() - began) / (number + 1) * (len(todo) - number - 1)
                bad = f"  BAD: {line['reason']} {line['leftovers']}" if ledger.is_bad(line) else ""
                print(
                    f"{number + 1}/{len(todo)} {name} in {phase}: {line['found'] if line['hit'] else 'missed'}, "
                    f"{line['seconds']:.0f} s; {left / 60:.0f} min left{bad}",
                    flush=True,
                )
                if line["hit"]:
                    break


def measure() -> int:
    """Bytes that a migration without a fault sends."""
    attempt.restore()
    line = attempt.attempt(None, None, "destination", "measure", 0, **METHOD)
    assert line["sent_kb"], line
    return 1024 * round(line["sent_kb"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make faults", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1, help="hits of each in all runs together (default: 1)")
    parser.add_argument("--only", default="", help="only those whose FAULT/PHASE has this in it")
    parser.add_argument("--seed", default="1", help="of the moments (default: 1)")
    parser.add_argument("--out", type=Path, default=ROOT / "results/faults.jsonl", help="where each is recorded")
    parser.add_argument("--page", type=Path, help="write the table there, too")
    parser.add_argument("--summary", action="store_true", help="only make the table of what is recorded")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
