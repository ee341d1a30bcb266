# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What attempts came to: JSON lines that runs append to, counted over all runs, and the tables made of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Line = dict[str, Any]


def read(path: Path) -> list[Line]:
    """All lines; one that an interrupted run wrote half is left out."""
    found = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    return found


def append(path: Path, line: Line) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
    with path.open("a") as output:
        output.write(("" if whole else "\n") + json.dumps(line) + "\n")


def hits(lines: Iterable[Line]) -> Counter[tuple[str, str]]:
    """How often each fault hit each phase."""
    return Counter((line["fault"], line["phase"]) for line in lines if line["hit"])


def pending(cells: Iterable[tuple[str, str]], lines: list[Line], count: int) -> list[tuple[str, str]]:
    """The cells still to be tried, each as often as hits are missing; all get one before any gets the next."""
    have, cells = hits(lines), list(cells)
    return [cell for n in range(count) for cell in cells if have[cell] <= n]


def is_bad(line: Line) -> bool:
    """Whether the guest was not where it must be, or the module misled, hung, or left anything behind."""
    # Without its fault, a migration ends on one of the hosts all the same.
    unexpected = line["found"] not in (line["expected"] if line["hit"] or not line["fault"] else ["home", "source"])
    unexpected |= not line["fault"] and line["rc"] != 0  # nothing stood in its way
    return bool(unexpected or line["throttled"] or line["hung"] or line["misreported"] or line["leftovers"])


def table(head: list[str], rows: list[list[Any]]) -> str:
    shown = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "".join("| " + " | ".join(map(str, row)) + " |\n" for row in shown)


def total(lines: list[Line], key: str) -> int:
    return sum(bool(line[key]) for line in lines)


def told(lines: list[Line]) -> str:
    """Where the lines are from: when, which commits, which QEMU."""
    commits = ", ".join(f"`{name}`" for name in dict.fromkeys(line["commit"] for line in lines))
    qemu = ", ".join(dict.fromkeys(line["qemu"] for line in lines))
    days = sorted({line["at"][:10] for line in lines})
    return f"{days[0]} to {days[-1]}, QEMU {qemu}, commits {commits}." if lines else "Nothing yet."


PLACES = ("home", "source", "paused", "lost")


def count_row(lines: list[Line]) -> list[int]:
    places = Counter(line["found"] for line in lines)
    return [
        len(lines),
        *(places[name] for name in PLACES),
        sum(count for name, count in places.items() if name not in PLACES),
        *(total(lines, key) for key in ("throttled", "hung", "misreported", "leftovers")),
    ]


COUNTED = [
    "home",
    "on the source",
    "paused",
    "lost",
    "elsewhere",
    "left throttled",
    "hung",
    "misreported",
    "left behind",
]


def fault_page(lines: list[Line], cells: Iterable[tuple[str, str]], expected: dict[tuple[str, str], str]) -> str:
    """The table of faults by phase; attempts whose fault missed are not in it."""
    hit = [line for line in lines if line["hit"]]
    rows: list[list[Any]] = []
    for cell in cells:
        own = [line for line in hit if (line["fault"], line["phase"]) == cell]
        rows.append([f"`{cell[0]}`", cell[1], expected[cell], *count_row(own)])
    rows.append(["all", "", "", *count_row(hit)])
    return (
        "# Faults by phase\n\nMade by `make faults`. Every fault in every phase of a migration in which it "
        "makes sense, and where the\nguest was found by an independent look at both hosts. "
        "*Expected* says where it must be.\n\n"
        + table(["fault", "phase", "expected", "times hit", *COUNTED], rows)
        + f"\n{told(hit)}\n{len(lines) - len(hit)} attempts missed their phase and were repeated.\n"
    )


def soak_page(lines: list[Line]) -> str:
    """The soak's summary, and its faults by kind."""
    by_kind: dict[str, list[Line]] = {}
    for line in lines:
        kind = f"{line['fault']} in {line['phase']}" if line["fault"] and line["hit"] else "none"
        by_kind.setdefault(kind, []).append(line)
    rows = [[kind, *count_row(by_kind[kind])] for kind in sorted(by_kind)] + [["all", *count_row(lines)]]
    blackouts = [line["blackout_ms"] for line in lines if line["blackout_ms"] is not None]
    both = sum(line["found"] == "both" for line in lines)
    bare = any(line.get("system") == "bare" for line in lines)
    return (
        f"# Soak{' of a bare guest' if bare else ''}\n\nMade by `make soak{' SYSTEM=bare' if bare else ''}`. One "
        f"{'bare guest under KVM' if bare else 'guest under load'}, migrated back and forth with the paper's methods "
        "in turn, with\nfaults at random. Its memory was verified after every migration.\n\n"
        + table(["fault", "migrations", *COUNTED], rows)
        + f"\nRunning on both hosts: {both}. Recovered: {sum(line['recoveries'] or 0 for line in lines)} times. "
        + f"Longest blackout: {f'{max(blackouts):.0f} ms' if blackouts else 'not measured'}.\n{told(lines)}\n"
    )
