# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How often a verdict on a real night is wrong, and, because real nights are few, on nights resampled from them.

A resampled night is a real one, drawn with replacement, each of whose cells has its trials drawn with replacement: what
a night does to all of its cells alike stays together, and trials scatter once more. Nothing is assumed of how nights
are distributed; what eight nights did not show, resampled ones do not show either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ansible_collections.vcsp.testbed.analysis.nightly import BASELINE_NIGHTS
from ansible_collections.vcsp.testbed.analysis.nightly.metrics import BY_NAME
from ansible_collections.vcsp.testbed.analysis.nightly.nights import Night
from ansible_collections.vcsp.testbed.analysis.nightly.verdict import Baseline, Finding, Verdict, judge

from .lab import BenchmarkError
from .nights import INJECTIONS, UNCHANGED, Line, read_lines, read_tables

RESAMPLED_UNCHANGED = 400
RESAMPLED_INJECTED = 200
SLOW_DOWNS = 40
MORE_SLOW_DOWNS = 400
SHARES = (1.0, 1.5)
# A fall by all of a value, and more, cannot be.
_LARGEST_FALL_PERCENT = 95


@dataclass(frozen=True)
class Share:
    """How many of so many."""

    count: int
    of: int

    @property
    def percent(self) -> float:
        """The share in percent."""
        return 100 * self.count / self.of

    def __str__(self) -> str:
        return f"{self.count} of {self.of} ({self.percent:.1f} %)"


@dataclass(frozen=True)
class Proof:
    """What verdicts were worth.

    :ivar judged: of each real night, held against seven other real ones that were not changed
    :ivar unchanged: red ones among resampled nights without a change, of which ``insensitive`` saw nothing
    :ivar injected: red ones among resampled nights of each injection
    :ivar missed: size of a slow-down in thresholds in force -> those that were missed, of `SLOW_DOWNS`
    :ivar missed_of_more: the same of `MORE_SLOW_DOWNS` others
    :ivar impossible: slow-downs that were drawn but are none, as falls by more than there is
    """

    seed: int
    lines: Sequence[Line]
    judged: Mapping[str, Verdict]
    unchanged: Share
    insensitive: Share
    injected: Mapping[str, Share]
    missed: Mapping[float, Share]
    missed_of_more: Mapping[float, Share]
    impossible: int


def prove(directory: Path, seed: int) -> Proof:
    """Judge the nights of ``directory``, and nights resampled from them.

    :raises BenchmarkError: there are fewer than eight nights without a change
    """
    nights = read_tables(directory)
    unchanged = [night for injected, night in nights if injected == UNCHANGED]
    if len(unchanged) <= BASELINE_NIGHTS or any(night.kind != unchanged[0].kind for _what, night in nights):
        raise BenchmarkError(
            f"{directory} needs {BASELINE_NIGHTS + 1} unchanged nights, and all of one scenario and the same hosts: it "
            f"has {len(unchanged)} unchanged ones of {len({night.kind for _what, night in nights})} kinds"
        )
    # A failed night is never held against.
    sound = [night for night in unchanged if not night.failures]
    missed, more, impossible = {}, {}, 0
    for share in SHARES:
        missed[share], left_out = missed_slow_downs(sound, share, SLOW_DOWNS, np.random.default_rng([seed, 3]))
        impossible += left_out
        more[share], left_out = missed_slow_downs(sound, share, MORE_SLOW_DOWNS, np.random.default_rng([seed, 4]))
        impossible += left_out
    random = np.random.default_rng([seed, 1])
    outcomes = [judged(*history(sound, unchanged, random)).outcome for _ in range(RESAMPLED_UNCHANGED)]
    return Proof(
        seed,
        read_lines(directory),
        {night.id: judged(night, [each for each in sound if each.id != night.id]) for _what, night in nights},
        Share(sum(map(is_red, outcomes)), len(outcomes)),
        Share(outcomes.count("insensitive"), len(outcomes)),
        {
            what: red_share(sound, found, np.random.default_rng([seed, 2, number]))
            for number, what in enumerate(INJECTIONS)
            if (found := [night for injected, night in nights if injected == what])
        },
        missed,
        more,
        impossible,
    )


def is_red(outcome: str) -> bool:
    """Tell whether a verdict is one that `nightly run` fails with."""
    return outcome in ("regression", "failed")


def judged(night: Night, others: Sequence[Night]) -> Verdict:
    """Return the verdict on ``night``, held against the last seven of ``others``."""
    return judge(night, [Baseline(each, 0) for each in others])


def history(
    sound: Sequence[Night], tonight: Sequence[Night], random: np.random.Generator
) -> tuple[Night, Sequence[Night]]:
    """Return a resampled night of ``tonight``, and seven of ``sound`` to hold it against."""
    before = [resampled(sound[int(random.integers(len(sound)))], random) for _ in range(BASELINE_NIGHTS)]
    return resampled(tonight[int(random.integers(len(tonight)))], random), before


def resampled(night: Night, random: np.random.Generator) -> Night:
    """Return ``night`` with the trials of each cell drawn with replacement."""

    def drawn(metrics: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
        longest = max(map(len, metrics.values()), default=0)
        chosen = random.integers(max(longest, 1), size=longest)
        # A trial keeps its values together; the few that lack one have their place taken by another.
        return {
            name: [values[each % len(values)] for each in chosen] if values else [] for name, values in metrics.items()
        }

    return replace(night, values={cell: drawn(metrics) for cell, metrics in night.values.items()})


def red_share(sound: Sequence[Night], injected: Sequence[Night], random: np.random.Generator) -> Share:
    """Return how many of the resampled nights of ``injected`` are red."""
    outcomes = [judged(*history(sound, injected, random)).outcome for _ in range(RESAMPLED_INJECTED)]
    return Share(sum(map(is_red, outcomes)), len(outcomes))


def missed_slow_downs(
    sound: Sequence[Night], share: float, count: int, random: np.random.Generator
) -> tuple[Share, int]:
    """Return how many slow-downs of ``share`` times the threshold in force are missed, and how many were none.

    Each is of one metric in one cell, drawn at random, of a resampled night. It is missed unless the verdict is red for
    just that.
    """
    missed = tries = impossible = 0
    while tries < count:
        night, before = history(sound, sound, random)
        findings = judged(night, before).findings
        finding = findings[int(random.integers(len(findings)))]
        percent = share * finding.in_force
        if BY_NAME[finding.metric].higher_is_better and percent > _LARGEST_FALL_PERCENT:
            impossible += 1
            if impossible > 10 * count:
                raise BenchmarkError("these nights scatter so much that no fall of a threshold's size is possible")
            continue
        tries += 1
        red = judged(slowed(night, finding, percent), before).red
        missed += not any((each.cell, each.metric) == (finding.cell, finding.metric) for each in red)
    return Share(missed, count), impossible


def slowed(night: Night, finding: Finding, percent: float) -> Night:
    """Return ``night`` with the finding's metric worse by ``percent`` in its cell."""
    metric = BY_NAME[finding.metric]
    factor = 1 - percent / 100 if metric.higher_is_better else 1 + percent / 100
    metrics = night.values[finding.cell]
    changed = [(max(value, 0) + metric.offset) * factor - metric.offset for value in metrics[finding.metric]]
    if metric.higher_is_better:
        changed = [max(value, 0) for value in changed]
    return replace(night, values={**night.values, finding.cell: {**metrics, finding.metric: changed}})


def markdown(proof: Proof) -> str:
    """Return the results as a page."""
    unchanged = [line for line in proof.lines if line.injected == UNCHANGED]
    red = Share(sum(is_red(proof.judged[line.night].outcome) for line in unchanged), len(unchanged))
    seconds = [line.seconds for line in proof.lines]
    stack = "; ".join(f"{title}: {value}" for title, value in unchanged[0].stack.items() if title != "boot")
    return "\n".join(
        [
            "# What verdicts on nights are worth",
            "",
            "[Verdicts](../../nightly.md) on real nights of `scenarios/nightly-bare.yml`, and on nights resampled from "
            "these. Written by `python -m benchmarks power`; `python -m benchmarks nights` ran the nights, each with a "
            "lab, boots and a calibration of its own. [nights.jsonl](nights.jsonl) and [trials.csv](trials.csv) hold "
            "what was measured.",
            "",
            f"On {stack}.",
            "",
            "## Measured",
            "",
            f"{len(unchanged)} nights without a change: {red} red, each held against the seven last of the others. "
            f"The longest of all nights took {max(seconds) / 60:.1f} minutes, with its lab and its report.",
            "",
            *_nights_table(proof),
            "",
            "Injections are made underneath the testbed, in the lab and on the destination (`benchmarks/slower/`):",
            "",
            *(f"- `{name}`: {what}." for name, what in INJECTIONS.items()),
            "",
            "## Resampled",
            "",
            f"Seed {proof.seed}. A resampled night is a real one, drawn with replacement, with the trials of each cell "
            "drawn with replacement; it is held against seven others. A slow-down is of one metric in one cell, drawn "
            "at random; it is missed unless the verdict is red for just that.",
            "",
            *_resampled_table(proof),
            "",
            f"Of the slow-downs drawn, {proof.impossible} were left out: falls by more than {_LARGEST_FALL_PERCENT} %. "
            f"Of the unchanged nights, {proof.insensitive} were insensitive.",
            "",
            "## Thresholds in force",
            "",
            "Of the last night without a change; median of the cells, and range.",
            "",
            *_threshold_table(proof.judged[unchanged[-1].night]),
            "",
        ]
    )


def _nights_table(proof: Proof) -> list[str]:
    rows = ["| night | injected | verdict | red cells and metrics | largest loss | seen to be there by |"]
    rows += ["| --- | --- | --- | ---: | --- | --- |"]
    for line in proof.lines:
        verdict = proof.judged[line.night]
        worst = max(verdict.red, key=lambda each: each.low, default=None)
        loss = "" if worst is None else f"{worst.cell}: {BY_NAME[worst.metric].title} {worst.loss:.0f} %"
        failures = "; ".join(line.failures[:1])
        cells = [line.night, line.injected, verdict.outcome, str(len(verdict.red)), loss or failures, line.hit]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _resampled_table(proof: Proof) -> list[str]:
    rows = [("red without a change", proof.unchanged, "at most 5 %", proof.unchanged.percent <= 5)]
    rows += [
        (f"red with `{what}`", share, "at least 90 %", share.percent >= 90) for what, share in proof.injected.items()
    ]
    for size, most in zip(SHARES, (10, 5), strict=True):
        for share in (proof.missed[size], proof.missed_of_more[size]):
            text = f"missed, of {size:g} times the threshold in force"
            rows.append((text, share, f"at most {most} %", share.percent <= most))
    lines = [f"| {what} | {share} | {wanted} | {'yes' if held else 'no'} |" for what, share, wanted, held in rows]
    return ["| | found | wanted | held |", "| --- | ---: | ---: | --- |", *lines]


def _threshold_table(verdict: Verdict) -> list[str]:
    lines = ["| metric | wished | in force | range |", "| --- | ---: | ---: | ---: |"]
    for metric in dict.fromkeys(each.metric for each in verdict.findings):
        found = [each for each in verdict.findings if each.metric == metric]
        force = [each.in_force for each in found]
        lines.append(
            f"| {BY_NAME[metric].title} | {found[0].wished:g} % | {np.median(force):.0f} % "
            f"| {min(force):.0f} to {max(force):.0f} % |"
        )
    return lines
