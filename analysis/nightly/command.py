# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: T201 - printing is what a command line is for
"""The commands ``plan`` and ``nightly``."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, get_args

from ...plugins.plugin_utils._records.errors import InputError
from . import BASELINE_NIGHTS, Outcome

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
# Of a verdict that --fail-on names; compare has the first three for what is like it.
EXIT_STATUS: dict[Outcome, int] = {"ok": 0, "regression": 10, "insensitive": 11, "learning": 12, "failed": 13}
_FEWEST_NIGHTS = 3


def add_parsers(commands: Any) -> None:
    """Add the commands to the subparsers of ``python -m analysis``."""
    planner = commands.add_parser("plan", help="say how many repeats a night needs, by how much nights scatter")
    planner.add_argument(
        "directories", type=Path, nargs="+", metavar="DIR", help="experiments of one scenario, or results/nightly"
    )
    planner.add_argument("--format", choices=["text", "json"], default="text")
    planner.set_defaults(run=_plan)

    nightly = commands.add_parser("nightly", help="regression runs every night, and what they mean (docs/nightly.md)")
    actions = nightly.add_subparsers(dest="action", required=True, metavar="ACTION")
    runner = actions.add_parser("run", help="run a night on ansible-runner, and say what it means")
    runner.add_argument("--scenario", default="nightly", help="name or path of a scenario (default: %(default)s)")
    runner.add_argument("--inventory", type=Path, metavar="PATH", help="the hosts (default: the embedded lab)")
    runner.add_argument(
        "--timeout",
        type=_count,
        default=6 * 3600,
        metavar="SECONDS",
        help="end the run after this; the night is then failed (default: %(default)s)",
    )
    runner.add_argument("--keep", type=_count, metavar="N", help='then do what "prune" does')
    _add_judging(runner)
    _add_results(runner)
    runner.set_defaults(run=_run)

    verdict = actions.add_parser("verdict", help="say what a night means beside the accepted nights before it")
    verdict.add_argument("directory", type=Path, metavar="DIR", help="the night's experiment, in results/nightly")
    verdict.add_argument("--format", choices=["text", "markdown", "json", "junit"], default="text")
    _add_judging(verdict)
    verdict.set_defaults(run=_verdict)

    for kind, what in (
        ("accept", "hold later nights against this one; if it was a regression, its level is the new one"),
        ("reject", "hold no later night against this one"),
    ):
        decider = actions.add_parser(kind, help=what)
        decider.add_argument("night", metavar="NIGHT", help="the night's id: the name of its directory")
        decider.add_argument("--reason", default="", help="for those who ask later")
        _add_results(decider)
        decider.set_defaults(run=_decide)

    quarantine = actions.add_parser("quarantine", help="let a cell decide nothing until the end of a day")
    quarantine.add_argument("cell", metavar="CELL", help="as verdicts name it, such as 0032mb-random-stock")
    quarantine.add_argument("--until", type=_day, required=True, metavar="DATE", help="yyyy-mm-dd; a past day ends it")
    quarantine.add_argument("--reason", required=True, help="for those who ask later")
    _add_results(quarantine)
    quarantine.set_defaults(run=_quarantine)

    historian = actions.add_parser("history", help="write how the nights went on, as a page and as data")
    _add_results(historian)
    historian.set_defaults(run=_history)

    pruner = actions.add_parser("prune", help="remove experiments of nights that nobody needs any more")
    pruner.add_argument("--keep", type=_count, default=30, metavar="N", help="the last N stay (default: %(default)s)")
    _add_results(pruner)
    pruner.set_defaults(run=_prune)


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", type=Path, default=Path("results/nightly"), metavar="DIR", help="the nights (default: %(default)s)"
    )


def _add_judging(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fail-on",
        type=_outcomes,
        default=["regression", "failed"],
        metavar="VERDICT[,VERDICT...]",
        help="verdicts with an exit status other than 0 (default: regression,failed)",
    )
    parser.add_argument(
        "--baseline-nights",
        type=_nights,
        default=BASELINE_NIGHTS,
        metavar="K",
        help="accepted nights that a night is held against (default: %(default)s)",
    )


def _plan(options: argparse.Namespace) -> int:
    # Imported here, as in all that follows: scipy takes a second, which --help does not need.
    from .plan import as_text, plan
    from .store import accepted

    found = plan(accepted(options.directories))
    print(json.dumps(asdict(found), indent=2) if options.format == "json" else as_text(found))
    return 0


def _run(options: argparse.Namespace) -> int:
    from .exports import text
    from .history import write_history
    from .run import Job, run_night
    from .store import prune

    if options.inventory is not None and not options.inventory.exists():
        raise InputError(f"{options.inventory}: there is no such inventory")
    job = Job(options.results, options.scenario, options.inventory, options.timeout, options.baseline_nights)
    result = run_night(job, lambda line: print(line, file=sys.stderr, flush=True))
    print(text(result))
    print(f"\nHistory: {write_history(options.results, options.baseline_nights)}")
    if options.keep is not None:
        prune(options.results, options.keep)
    return exit_status(result.verdict.outcome, options.fail_on)


def _verdict(options: argparse.Namespace) -> int:
    from .exports import FORMATS
    from .store import read_finished, result_of, settle

    directory = options.directory.resolve()
    settle(directory.parent, read_finished(directory), options.baseline_nights)
    result = result_of(directory.parent, directory.name, options.baseline_nights)
    print(FORMATS[options.format](result))
    return exit_status(result.verdict.outcome, options.fail_on)


def exit_status(outcome: Outcome, fail_on: list[Outcome]) -> int:
    """Return the exit status of a verdict: 0 unless ``fail_on`` names it."""
    return EXIT_STATUS[outcome] if outcome in fail_on else 0


def _decide(options: argparse.Namespace) -> int:
    from .store import decide

    changed = decide(_existing(options.results), options.action, options.night, options.reason)
    print(f"{options.night}: {options.action}ed{'' if changed else ' already'}")
    return 0


def _quarantine(options: argparse.Namespace) -> int:
    from .store import quarantine

    changed = quarantine(_existing(options.results), options.cell, options.until, options.reason)
    print(f"{options.cell}: in quarantine until {options.until}{'' if changed else ' already'}")
    return 0


def _history(options: argparse.Namespace) -> int:
    from .history import write_history

    print(write_history(_existing(options.results)))
    return 0


def _prune(options: argparse.Namespace) -> int:
    from .store import prune

    removed = prune(_existing(options.results), options.keep)
    print(f"removed {len(removed)}{': ' if removed else ''}{', '.join(removed)}")
    return 0


def _existing(results: Path) -> Path:
    if not results.is_dir():
        raise InputError(f"{results}: there is no such directory; give that of the nights with --results")
    return results


def _day(text: str) -> date:
    return date.fromisoformat(text)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _nights(text: str) -> int:
    value = int(text)
    if value < _FEWEST_NIGHTS:
        raise argparse.ArgumentTypeError(f"{value} nights do not show how much nights scatter; give {_FEWEST_NIGHTS}")
    return value


def _outcomes(text: str) -> list[str]:
    if text == "none":
        return []
    names = text.split(",")
    unknown = [name for name in names if name not in OUTCOMES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(OUTCOMES)}, or none")
    return names
