# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: T201 - progress is printed
"""What the migration engine costs: migrations in arms that differ in one thing each, and a ping-pong, interleaved.

A repeat runs every arm once, in random order. A ratio is taken within a repeat, so that drift of the machine affects
both sides alike; over the repeats it has a median and an interval.
"""

from __future__ import annotations

import base64
import csv
import json
import random
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.controller import provenance

from . import lab, report

Measured = dict[str, float]
Repeat = dict[str, Measured]  # arm -> what was measured, without the arms that failed
Arm = Callable[[lab.Guests], Measured]

RATE_MBIT = 1000
# The push needs more memory, so that the transfer outweighs the fixed cost of a migration.
DEMAND_MB, PUSH_MB = 32, 256
SCENARIO = {
    "name": "benchmark",
    "link": {"rate_mbit": RATE_MBIT},
    "workloads": [{"window_mb": window_mb} for window_mb in (DEMAND_MB, PUSH_MB)],
    "methods": ["post-copy"],
}
PING_PONG = Path(__file__).with_name("floor.py")
ROUNDS = 5000
# Time of a page with its header on a wire at the link's rate.
WIRE_US = (8 + 4096) * 8 / RATE_MBIT


def ping_pong(_guests: lab.Guests) -> Measured:
    """Median round trips in µs; see floor.py.

    :raises BenchmarkError: the ping-pong failed.
    """
    address = lab.HOSTS["destination"]["migration_address"]
    with lab.python("destination", PING_PONG, "destination", address, str(ROUNDS)) as asking:
        assert asking.stdout is not None
        try:
            ports = json.loads(asking.stdout.readline() or "{}")
            with lab.python("source", PING_PONG, "source", address, *map(str, ports.values())):
                found: Measured = json.loads(asking.stdout.read() or "{}")
        finally:
            asking.kill()
    if not found:
        raise lab.BenchmarkError("the ping-pong failed; see its output above")
    return found


def migration(guests: lab.Guests, window_mb: int, prefetch_program: str | None = None, **method: Any) -> Measured:
    """Run one migration, and reduce its result to what the ratios need.

    :raises BenchmarkError: it failed, or ran with the program in the wrong state.
    """
    workload = {"window_mb": window_mb, "pattern": "sequential", "work_per_page": 20}
    options = {} if prefetch_program is None else {"prefetch_program": prefetch_program}
    result = lab.migrate(guests, workload, method, **options)
    trace = result["instruments"]["request_trace"]
    if trace["present"] == (prefetch_program is not None):
        raise lab.BenchmarkError(f"the program was {'' if trace['present'] else 'not '}loaded: {trace['reason']}")
    found = result["measurements"]
    return {
        "requests": found["page_requests"],
        "page_wait_ms": found["page_wait_ms"],
        "total_s": found["total_migration_time_s"],
        "line_s": found["sent_kb"] * 1024 * 8 / (RATE_MBIT * 1e6),
        "link_mbit_per_s": found["link_mbit_per_s"],
        **demand_paging(result),
    }


def demand_paging(result: Mapping[str, Any]) -> Measured:
    """Page wait per request, and the guest's time per page, in µs; a median over samples, so without rare stalls."""
    end_s = next((event["time_s"] for event in result["events"] if event["name"] == "WINDOW_WALKED"), None)
    if end_s is None:
        return {}
    text = zlib.decompress(base64.b64decode(result["files"]["telemetry.csv"])).decode()
    samples = [
        (float(row["time_s"]), int(row["pages"]))
        for row in csv.DictReader(text.splitlines())
        if row["host"] == "destination" and float(row["time_s"]) <= end_s
    ]
    paces = [(t1 - t0) / (pages1 - pages0) for (t0, pages0), (t1, pages1) in pairwise(samples) if pages1 > pages0]
    wait_ms, requests = (result["measurements"][name] for name in ("page_wait_ms", "page_requests"))
    return {"fault_us": wait_ms * 1000 / requests, "page_us": median(paces) * 1e6}


_demand = partial(migration, window_mb=DEMAND_MB, transfer="demand")
_push = partial(migration, window_mb=PUSH_MB, transfer="push")
# With one page per request, a migration works without the program, and reports that it has no request trace.
_no_program = {"prefetch_program": "/nonexistent"}
ARMS: Mapping[str, Arm] = {
    "ping-pong": ping_pong,
    "demand": _demand,
    "demand, not loaded": partial(_demand, **_no_program),
    "demand, 10 pages": partial(_demand, prefetch_pages=10),
    "push": _push,
    "push, not loaded": partial(_push, **_no_program),
    "push, preempt": partial(_push, postcopy_preempt=True),
}


@dataclass(frozen=True)
class Ratio:
    """A ratio within a repeat, and what it should be."""

    text: str
    of: Callable[[Repeat], float]
    at_most: float | None = None
    at_least: float | None = None

    def row(self, repeats: Sequence[Repeat]) -> list[str]:
        """Return its line of the table, without repeats in which one of its arms failed."""
        found = []
        for repeat in repeats:
            try:
                found.append(self.of(repeat))
            except KeyError:
                continue
        if not found:
            return [self.text, "-", self.wanted, "-", "0"]
        ratio = report.spread(found)
        return [self.text, ratio.text(3), self.wanted, self.held(ratio), str(ratio.n)]

    @property
    def wanted(self) -> str:
        """The bound as the table shows it."""
        if self.at_most is not None:
            return f"≤ {self.at_most:.2f}"
        return "-" if self.at_least is None else f"≥ {self.at_least:.2f}"

    def held(self, ratio: report.Spread) -> str:
        """Say whether the median is as wanted, and whether its interval leaves any doubt."""
        if self.at_most is None and self.at_least is None:
            return "-"
        middle, *ends = (
            (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)
            for value in (ratio.median, ratio.low, ratio.high)
        )
        return ("yes" if middle else "no") + ("" if ends == [middle, middle] else ", not certain")


RATIOS = (
    Ratio(
        "demand paging, page wait per fault: program loaded / not loaded",
        lambda arm: arm["demand"]["fault_us"] / arm["demand, not loaded"]["fault_us"],
        at_most=1.05,
    ),
    Ratio(
        "demand paging, time per page in the median 0.1 s: program loaded / not loaded",
        lambda arm: arm["demand"]["page_us"] / arm["demand, not loaded"]["page_us"],
    ),
    Ratio(
        "demand paging, page wait per fault: with what the program adds to a ping-pong / without",
        lambda arm: (
            1 + (arm["ping-pong"]["program_us"] - arm["ping-pong"]["page_us"]) / arm["demand, not loaded"]["fault_us"]
        ),
        at_most=1.05,
    ),
    Ratio(
        "push, throughput: program loaded / not loaded",
        lambda arm: arm["push"]["link_mbit_per_s"] / arm["push, not loaded"]["link_mbit_per_s"],
        at_least=0.98,
    ),
    Ratio(
        "demand paging, page wait per fault / ping-pong",
        lambda arm: arm["demand"]["fault_us"] / arm["ping-pong"]["page_us"],
    ),
    Ratio(
        f"demand paging, page wait per fault / ping-pong and {WIRE_US:.1f} µs on a wire",
        lambda arm: arm["demand"]["fault_us"] / (arm["ping-pong"]["page_us"] + WIRE_US),
    ),
    Ratio(
        "10 pages per request, page wait per request / ping-pong",
        lambda arm: arm["demand, 10 pages"]["fault_us"] / arm["ping-pong"]["page_us"],
    ),
    Ratio(
        "10 pages per request, total page wait / with 1 page",
        lambda arm: arm["demand, 10 pages"]["page_wait_ms"] / arm["demand"]["page_wait_ms"],
    ),
    Ratio(
        "push, total migration time / bytes sent at the link's rate",
        lambda arm: arm["push"]["total_s"] / arm["push"]["line_s"],
        at_most=1.10,
    ),
    Ratio(
        "push with preempt, total migration time / bytes sent at the link's rate",
        lambda arm: arm["push, preempt"]["total_s"] / arm["push, preempt"]["line_s"],
        at_most=1.10,
    ),
)
PING_PONGS = {
    "header_us": "8 bytes",
    "page_us": "4104 bytes: a page with its header",
    "program_us": "the same, requests through the program",
}
# Key, column head, digits.
COLUMNS = (
    ("fault_us", "page wait per request, µs", 0),
    ("page_us", "time per page, µs", 0),
    ("page_wait_ms", "total page wait, ms", 0),
    ("requests", "requests", 0),
    ("total_s", "total migration time, s", 2),
    ("link_mbit_per_s", "Mbit/s", 0),
)
HOW_TO_READ = """\
- *Not loaded* differs in more than the program, which also sets `TCP_NODELAY` on QEMU's sockets. Where acknowledgements
  are delayed, that removes stalls of 40 ms, far more than the program costs: there, *not loaded* saves the cost but
  keeps the stalls. The lab's migration route has `quickack 1`, which prevents them. Besides, a rare stall does not
  change the time per page in the median 0.1 s of the walk, which includes the guest's own work on the page, and both
  connections of the ping-pong have `TCP_NODELAY`, so they differ in the program alone.
- The ping-pong is what the network and its wake-ups cost without QEMU: twice the link's delay, and the page's own time
  on the wire.
- With several pages per request, the guest also waits for pages that are on their way already and need no request.
- The push's ratio cannot be 1: the link's rate counts frames, whose headers add 4.6 % to what QEMU counts.
"""


@dataclass
class Run:
    """Everything that was measured, and on what machine; stored as JSON."""

    command: str
    host: Mapping[str, Any]
    controller: Mapping[str, Any]
    repeats: list[Repeat] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Run:
        """Read what `save` wrote.

        :raises BenchmarkError: it is not such a file.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise lab.BenchmarkError(f"{path}: no run of this benchmark: {error}") from error

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1))

    def markdown(self) -> str:
        """Return the results as Markdown."""
        arms = {name: [repeat[name] for repeat in self.repeats if name in repeat] for name in ARMS}
        pings = arms.pop("ping-pong")
        parts = [
            "# The migration engine",
            f"Written by `{self.command}`. {report.machine(self.host, self.controller)}. Link of {RATE_MBIT} Mbit/s "
            f"between the hosts of the embedded lab; a guest of 512 MB with one vCPU walks {DEMAND_MB} MB (demand) or "
            f"{PUSH_MB} MB (push).",
            "Medians over the repeats with their 95 % intervals. A ratio compares measurements of the same repeat.",
            report.table(
                ["ratio", "median [95 % interval]", "wanted", "held", "n"],
                [ratio.row(self.repeats) for ratio in RATIOS],
            ),
            report.table(
                ["arm", *(head for _key, head, _digits in COLUMNS), "n"],
                [
                    [name, *(cell(measured, key, digits) for key, _head, digits in COLUMNS), str(len(measured))]
                    for name, measured in arms.items()
                ],
            ),
            report.table(
                ["ping-pong: 16 bytes answered by", "round trip, µs", "n"],
                [[text, cell(pings, key, 1), str(len(pings))] for key, text in PING_PONGS.items()],
            ),
            HOW_TO_READ.rstrip(),
        ]
        if self.failures:
            parts.append("Failed, and not included above:\n\n" + "\n".join(f"- {line}" for line in self.failures))
        return "\n\n".join(parts) + "\n"


def cell(measured: Sequence[Measured], key: str, digits: int) -> str:
    """Return a median with its interval, or "-"."""
    values = [one[key] for one in measured if key in one]
    return report.spread(values).text(digits) if values else "-"


def run(repeats: int, seed: int, path: Path) -> Run:
    """Run every arm that many times; print the progress, and save the results to ``path`` after each repeat.

    :raises BenchmarkError: there is no lab, or no guest.
    """
    order = random.Random(seed)
    controller = provenance()
    with lab.taken():
        lab.check_link(RATE_MBIT)
        print("saving the guests, which takes a minute the first time", flush=True)
        guests = lab.save_guests(SCENARIO)
        command = f"python -m benchmarks engine --repeats {repeats} --seed {seed}"
        found = Run(command, guests.hosts["destination"], controller)
        began_s = time.monotonic()
        for number in range(1, repeats + 1):
            measured: Repeat = {}
            for name in order.sample(list(ARMS), len(ARMS)):
                try:
                    measured[name] = ARMS[name](guests)
                    outcome = ", ".join(f"{key} {value:.4g}" for key, value in measured[name].items())
                except lab.BenchmarkError as error:
                    outcome = f"failed: {error}"
                    found.failures.append(f"repeat {number}, {name}: {str(error).splitlines()[0]}")
                print(f"[{number}/{repeats}] {name}: {outcome}", flush=True)
            found.repeats.append(measured)
            found.save(path)
            left_s = (time.monotonic() - began_s) / number * (repeats - number)
            print(f"[{number}/{repeats}] {left_s / 60:.0f} minutes left", flush=True)
    return found
