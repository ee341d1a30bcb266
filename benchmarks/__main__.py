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
NIGHTS = HERE.parent / "docs" / "results" / "nightly"

_EXAMPLES = """examples:
  make lab provision                            set up the embedded lab, which engine needs
  python -m benchmarks engine                   into benchmarks/ENGINE.md
  ansible-playbook experiment.yml -e scenario=benchmarks/policies.yml
  python -m benchmarks policies                 into benchmarks/POLICIES.md and benchmarks/policies.svg
  make experiment SCENARIO=bare
  python -m benchmarks overhead                 into benchmarks/OVERHEAD.md
  python -m benchmarks nights                   real nights of scenarios/nightly-bare.yml, unchanged and made worse,
                                                into results/nights and docs/results/nightly; makes the lab itself,
                                                goes on where it was stopped, and says of each night how it went
  python -m benchmarks nights --unchanged 4 --injected 0    only the first four unchanged ones
  python -m benchmarks nights --at-most 1       the next one
  python -m benchmarks nights --only quota --injected 1     one with the quota left in force
  python -m benchmarks power                    into docs/results/nightly/README.md, from those nights

exit status: 0 done; 2 no lab, a night that does not count, or nothing to show (standard error says why)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = _parser().parse_args(arguments)
    # Imported here: --help needs neither the lab's inventory nor Altair.
    from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError

    from .lab import BenchmarkError

    make = {
        "engine": _engine, "policies": _policies, "overhead": _overhead, "nights": _nights, "power": _power,
    }[options.command]  # fmt: skip
    try:
        written = make(options)
    except (InputError, BenchmarkError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    options.output.mkdir(parents=True, exist_ok=True)
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


def _overhead(options: argparse.Namespace) -> dict[str, str]:
    from . import overhead

    return {"OVERHEAD.md": overhead.run(options.directory, options.repeats)}


def _nights(options: argparse.Namespace) -> dict[str, str]:
    from . import nights

    kinds = [nights.UNCHANGED, *nights.INJECTIONS] if options.only is None else [options.only]
    wanted = {kind: options.unchanged if kind == nights.UNCHANGED else options.injected for kind in kinds}
    try:
        nights.run(options.results, options.scenario or nights.SCENARIO, wanted, options.at_most)
    finally:
        if nights.read_lines(options.results):
            nights.write_tables(options.results, options.output)
    return {}


def _power(options: argparse.Namespace) -> dict[str, str]:
    from . import power

    return {"README.md": power.markdown(power.prove(options.output, options.seed))}


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
    overhead = commands.add_parser("overhead", help="what an experiment's trials cost beside what they measure")
    overhead.add_argument("--repeats", type=int, default=6, help="runs of the empty modules (default: 6)")
    for command in (policies, overhead):
        command.add_argument(
            "directory",
            type=Path,
            metavar="DIR",
            nargs="?",
            default=Path("results/latest"),
            help="default: results/latest",
        )
    for command in (engine, policies, overhead):
        command.add_argument("--output", type=Path, default=HERE, help="directory to write to (default: benchmarks/)")
    nights = commands.add_parser("nights", help="real nights, unchanged and made worse, to prove verdicts with")
    nights.add_argument("--unchanged", type=int, default=8, metavar="N", help="of these, as they are (default: 8)")
    nights.add_argument("--injected", type=int, default=3, metavar="N", help="of each that is worse (default: 3)")
    nights.add_argument(
        "--only",
        choices=["unchanged", "link", "prefetching", "quota", "fault"],
        help="run no others: link has 80 %% of its rate, prefetching is silently off, quota is never lifted, fault "
        "takes 1 ms more",
    )
    nights.add_argument("--at-most", type=int, metavar="N", help="stop after so many nights")
    nights.add_argument("--scenario", type=Path, metavar="FILE", help="default: scenarios/nightly-bare.yml")
    nights.add_argument(
        "--results",
        type=Path,
        default=Path("results/nights"),
        metavar="DIR",
        help="the nights; one that is there is not run again (default: %(default)s)",
    )
    power = commands.add_parser("power", help="how often verdicts on such nights are wrong, resampled")
    power.add_argument("--seed", type=int, default=1, help="seed of the resampling (default: 1)")
    for command in (nights, power):
        command.add_argument(
            "--output", type=Path, default=NIGHTS, metavar="DIR", help="their tables (default: docs/results/nightly/)"
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
