# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: T201 - printing is what a command line is for
"""The command line of ``python -m analysis``."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from ..plugins.plugin_utils._records.atomic import keep_from_others
from ..plugins.plugin_utils._records.errors import InputError
from .data.likeness import ALLOWABLE
from .nightly.command import add_parsers

_EXAMPLES = """examples:
  python -m analysis report results/latest
      Table 3, figures and web page of the newest experiment, into results/latest/report
  python -m analysis pack results/latest latest.tar.xz
      the experiment as a small file to keep; tar unpacks it, and report draws it again
  python -m analysis import-vcsp VCSP/postcopy results/vcsp-raw
      the paper's own raw data as an experiment; report then gives the published Table 3
  python -m analysis compare results/last-night results/latest --allow qemu
      whether migration has become worse with a new QEMU (docs/compare.md)
  python -m analysis compare results/latest
      whether it is worse on the second of its stacks (docs/stacks.md)
  python -m analysis agree results/here results/there
      whether two machines give the same verdicts (docs/agree.md)
  python -m analysis plan results/nightly
      how many repeats a night needs to see what its scenario wishes for (docs/nightly.md)
  python -m analysis nightly verdict results/nightly/2026-01-31-nightly-030000
      what a night means beside the accepted nights before it (docs/nightly.md)

exit status: 0 done; 2 bad input, or no Table 3 although methods were compared (standard error says why);
compare: 0 no regression, 10 regression, 11 too noisy to say, 12 too few or unlike samples, 2 bad input;
agree: 0 the machines agree, 10 they disagree, 11 and 12 as above;
nightly: 0, or of a verdict that --fail-on names: 10 regression, 11 insensitive, 12 learning, 13 failed
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    keep_from_others()
    try:
        if options.command in ("plan", "nightly"):
            return int(options.run(options))
        if options.command == "report":
            return _report(options.directory)
        if options.command == "pack":
            return _pack(options.directory, options.archive)
        if options.command == "compare":
            return _compare(options)
        if options.command == "agree":
            return _agree(options)
        return _import_vcsp(options.raw_directory, options.directory)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename or 'output'}: {error.strerror}", file=sys.stderr)
    return 2


def _report(directory: Path) -> int:
    # Imported here: pandas and Altair take a second, which --help does not need.
    from .presentation.wording import progress
    from .report import report

    found = report(directory)
    for entry in found.skipped:
        print(f"skipped {entry}", file=sys.stderr)
    for summary in found.summaries:
        on = "".join(f"{stack}: " for stack in summary.experiment.stacks)
        for warning in summary.warnings:
            print(f"warning: {on}{warning}", file=sys.stderr)
        if summary.failed:
            print(f"error: {on}{summary.notice} ({progress(summary.experiment)})", file=sys.stderr)
    for obstacle in (each for comparison in found.comparisons for each in comparison.obstacles):
        print(f"error: {obstacle}", file=sys.stderr)
    if not found.failed:
        print(found.text)
    print(f"\nReport: {found.html}")
    return 2 if found.failed else 0


def _pack(directory: Path, archive: Path) -> int:
    from .data.archive import pack

    size = pack(directory, archive)
    print(f"{archive}: {size / 1e6:.1f} MB; to draw its report again: tar -xf, then python -m analysis report")
    return 0


def _import_vcsp(raw_directory: Path, directory: Path) -> int:
    from .data.vcsp_raw import import_vcsp_raw

    count = import_vcsp_raw(raw_directory, directory)
    print(f"{count} trials written to {directory}; next: python -m analysis report {directory}")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from .comparison import compare
    from .presentation.comparison import FORMATS
    from .stacks import compare_in

    baseline, threshold_percent = options.baseline_directory, options.threshold_percent
    if options.new_directory is None:
        if options.allow:
            raise InputError("--allow: is for two experiments; stacks may differ in QEMU, libvirt and kernel anyway")
        comparison = compare_in(baseline, options.stack, threshold_percent, options.each_workload)
    elif options.stack is not None:
        raise InputError("--stack: is for one experiment that compares stacks; leave it out, or NEW_DIR")
    else:
        comparison = compare(baseline, options.new_directory, threshold_percent, options.allow, options.each_workload)
    print(FORMATS[options.format](comparison))
    return comparison.outcome.exit_status


def _agree(options: argparse.Namespace) -> int:
    from .concordance import agree
    from .presentation.concordance import FORMATS

    concordance = agree(options.first_directory, options.second_directory, options.allow)
    print(FORMATS[options.format](concordance))
    return concordance.outcome[1]


def _percent(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError(text)
    return value


def _factors(text: str) -> list[str]:
    factors = text.split(",")
    unknown = [factor for factor in factors if factor not in ALLOWABLE]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(ALLOWABLE)}")
    return factors


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis",
        description="From the records of an experiment to Table 3, figures and a report.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    report = commands.add_parser("report", help="write the report of an experiment and print its Table 3")
    report.add_argument("directory", type=Path, metavar="DIR", help="directory of the experiment, finished or not")
    packer = commands.add_parser("pack", help="put an experiment into one small file to keep")
    packer.add_argument("directory", type=Path, metavar="DIR", help="directory of the experiment, finished or not")
    packer.add_argument(
        "archive", type=Path, metavar="FILE", help="the file to write, replaced if there is one: .tar.xz"
    )
    importer = commands.add_parser("import-vcsp", help="turn the raw data of the paper's authors into an experiment")
    importer.add_argument(
        "raw_directory", type=Path, metavar="RAW_DIR", help="their folder postcopy/, any subset of its files"
    )
    importer.add_argument("directory", type=Path, metavar="DIR", help="directory to create; must be new or empty")
    comparer = commands.add_parser("compare", help="say whether migration has become worse between two experiments")
    comparer.add_argument("baseline_directory", type=Path, metavar="BASELINE_DIR", help="experiment to compare with")
    comparer.add_argument(
        "new_directory",
        type=Path,
        nargs="?",
        metavar="NEW_DIR",
        help="experiment in question; without it, the stacks of the first one are compared",
    )
    comparer.add_argument("--stack", metavar="NAME", help="which stack to hold against the first, if there are several")
    comparer.add_argument("--format", choices=["text", "json", "junit"], default="text")
    comparer.add_argument(
        "--threshold-percent",
        type=_percent,
        default=10.0,
        metavar="PERCENT",
        help="a loss smaller than this is no regression (default: %(default)g)",
    )
    comparer.add_argument(
        "--allow",
        type=_factors,
        default=[],
        metavar="WHAT",
        help=f"what may differ between the two, separated by commas: {', '.join(ALLOWABLE)}",
    )
    comparer.add_argument(
        "--each-workload",
        action="store_true",
        help="let each workload decide, too, not only the means over all of them",
    )
    agreer = commands.add_parser("agree", help="say whether two machines give the same verdicts on one scenario")
    agreer.add_argument("first_directory", type=Path, metavar="DIR_A", help="experiment on one machine")
    agreer.add_argument("second_directory", type=Path, metavar="DIR_B", help="the same scenario on another machine")
    agreer.add_argument(
        "--allow", action="append", choices=["scenario"], default=[], help="let the scenario differ, such as its guest"
    )
    agreer.add_argument("--format", choices=["text", "json"], default="text")
    add_parsers(commands)
    return parser
