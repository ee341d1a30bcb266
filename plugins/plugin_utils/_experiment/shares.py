# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How the trials of an experiment are shared out over pairs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any


def deal(
    trials: Iterable[Mapping[str, Any]], pairs: Collection[str], begun: Mapping[int, str], seed: int
) -> list[dict[str, Any]]:
    """Return ``trials`` in their order, each with the name of its ``pair``.

    A pair gets whole repeats, so that it measures every method on every workload and can be a block of the analysis:
    those that it has begun, then the next one whenever it has the fewest. Among pairs that have equally many, the seed
    decides.

    :param begun: repeat -> the pair that ran trials of it, which need not be one of ``pairs``
    """
    order = sorted(pairs)
    random.Random(f"{seed}/pairs").shuffle(order)
    owners = {repeat: pair for repeat, pair in begun.items() if pair in order}
    counts = Counter(owners.values())
    dealt = []
    for trial in trials:
        repeat = trial["repeat"]
        if repeat not in owners:
            owners[repeat] = min(order, key=lambda pair: counts[pair])
            counts[owners[repeat]] += 1
        dealt.append({**trial, "pair": owners[repeat]})
    return dealt
