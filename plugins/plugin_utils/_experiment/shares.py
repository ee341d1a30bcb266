# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How the trials of an experiment are shared out over pairs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from .._scenario.trials import state_of

# A repeat of a stack, which is None where the inventory names none: a pair measures it as a whole.
Block = tuple[str | None, int]


def deal(
    trials: Iterable[Mapping[str, Any]],
    pairs: Mapping[str, str | None],
    begun: Mapping[Block, str],
    scenario: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return ``trials`` in their order, each with the name of its ``pair``.

    A pair gets whole repeats, so that it measures every method on every workload and can be a block of the analysis:
    those that it has begun, then the next one whenever it has the fewest. Of pairs that have equally many, the one with
    the fewest of that boot of the guest gets it, or else its repeats would be copies of one guest. Then the seed
    decides.

    Where there are stacks, each is measured by its own pairs alone, and a trial of one that has none left is left out.

    :param pairs: name -> stack, None where the inventory names none
    :param begun: block -> the pair that ran trials of it, which need not be one of ``pairs``
    :param scenario: normalised scenario
    """
    order = sorted(pairs)
    random.Random(f"{scenario['seed']}/pairs").shuffle(order)
    owners = {block: pair for block, pair in begun.items() if pair in pairs and pairs[pair] == block[0]}
    repeats = Counter(owners.values())
    boots = Counter((pair, state_of(scenario, repeat)) for (_stack, repeat), pair in owners.items())
    dealt = []
    for trial in trials:
        stack, repeat = block = trial.get("stack"), trial["repeat"]
        own = [pair for pair in order if pairs[pair] == stack]
        if block not in owners and own:
            state = state_of(scenario, repeat)
            owner = min(own, key=lambda pair: (repeats[pair], boots[pair, state]))
            owners[block] = owner
            repeats[owner] += 1
            boots[owner, state] += 1
        if block in owners:
            dealt.append({**trial, "pair": owners[block]})
    return dealt
