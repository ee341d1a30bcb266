# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How the trials of an experiment are shared out over pairs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .._scenario.trials import state_of


def deal(
    trials: Iterable[Mapping[str, Any]], pairs: Collection[str], begun: Mapping[int, str], scenario: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return ``trials`` in their order, each with the name of its ``pair``.

    A pair gets whole repeats, so that it measures every method on every workload and can be a block of the analysis:
    those that it has begun, then the next one whenever it has the fewest. Of pairs that have equally many, the one with
    the fewest of that boot of the guest gets it, or else its repeats would be copies of one guest. Then the seed
    decides.

    :param begun: repeat -> the pair that ran trials of it, which need not be one of ``pairs``
    :param scenario: normalised scenario
    """
    order = sorted(pairs)
    random.Random(f"{scenario['seed']}/pairs").shuffle(order)
    owners = {repeat: pair for repeat, pair in begun.items() if pair in order}
    repeats = Counter(owners.values())
    boots = Counter((pair, state_of(scenario, repeat)) for repeat, pair in owners.items())
    dealt = []
    for trial in trials:
        repeat = trial["repeat"]
        if repeat not in owners:
            state = state_of(scenario, repeat)
            owner = min(order, key=lambda pair: (repeats[pair], boots[pair, state]))
            owners[repeat] = owner
            repeats[owner] += 1
            boots[owner, state] += 1
        dealt.append({**trial, "pair": owners[repeat]})
    return dealt
