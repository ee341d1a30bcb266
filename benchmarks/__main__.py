# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: T201 - printing is what a command line is for
"""The command line: ``python -m benchmarks``, in the root of the checkout."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent

_EXAMPLES = """examples:
  make lab provision                            set up the embedded lab, which engine needs
  python -m benchmarks engine                   into benchmarks/ENGINE.md
  ansible-playbook experiment.yml -e scenario=benchmarks/policies.yml
  python -m benchmarks policies                 into benchmarks/POLICIES.md and benchmarks/policies.svg

exit status: 0 done; 2 no lab, or nothing to show (standard error says why)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = _parser().parse_args(arguments)
    # Imported here: --help needs neither the lab's inventory nor Altair.
    from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError

    from .lab import BenchmarkError

    try:
        written = _engine(options) if options.command == "engine" else _policies(options)
    except (InputError, BenchmarkError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, text in written.items():
        (options.output / name).write_text(text, encoding="utf-8")
        print(f"written: {options.output / name}")
    return 0


def _engine(options: argparse.Namespace) -> dict[str, str]:
    from . import engine

    if options.again is not None:
        return {"ENGINE.md": engine.Run.read(options.again).markdown()}
    raw = HERE.parent / "results" / "benchmarks" / f"engine-{time.strftime('%Y%m%d-%H%M%S')}.json"
    return {"ENGINE.md": engine.run(options.repeats, options.seed, raw).markdown()}


def _policies(options: argparse.Namespace) -> dict[str, str]:
    from . import policies

    return policies.results(options.directory)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Benchmarks of the migration engine on the embedded lab.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    engine = commands.add_parser("engine", help="what the prefetch program, a page fault and the push cost")
    engine.add_argument("--repeats", type=int, default=30, help="number of runs per arm (default: 30)")
    engine.add_argument("--seed", type=int, default=1, help="seed for the order of the arms (default: 1)")
    engine.add_argument(
        "--again",
        type=Path,
        metavar="FILE",
        help="measure nothing; rewrite the tables from a results/benchmarks/engine-*.json",
    )
    policies = commands.add_parser("policies", help="table and figure of an experiment with policies.yml")
    policies.add_argument(
        "directory", type=Path, metavar="DIR", nargs="?", default=Path("results/latest"), help="default: results/latest"
    )
    for command in (engine, policies):
        command.add_argument("--output", type=Path, default=HERE, help="directory to write to (default: benchmarks/)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
