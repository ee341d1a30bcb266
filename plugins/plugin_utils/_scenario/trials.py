# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From a scenario to its trials: which migrations are done, and in which order."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any


def trials(scenario: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the trials of a normalised scenario in the order in which they are run.

    A repeat holds every workload with every method once, in an order drawn from the seed and the number of the repeat:
    what drifts during an experiment meets all methods alike, and the same scenario always gives the same list.
    """
    cells = [(workload, method) for workload in scenario["workloads"] for method in scenario["methods"]]
    shapes = [(workload["window_mb"], workload["pattern"]) for workload in scenario["workloads"]]
    result: list[dict[str, Any]] = []
    for repeat in range(1, scenario["repeats"] + 1):
        order = list(cells)
        random.Random(f"{scenario['seed']}/{repeat}").shuffle(order)
        for workload, method in order:
            name = f"r{repeat:02d}-{workload['window_mb']:04d}mb-{workload['pattern']}-{method['name']}"
            if shapes.count((workload["window_mb"], workload["pattern"])) > 1:
                name += f"-w{workload['work_per_page']}"
            observation_s = scenario["observation_s"]
            if observation_s is None:
                observation_s = default_observation_s(workload["window_mb"])
            result.append(
                {
                    "id": name,
                    "index": len(result) + 1,
                    "total": len(cells) * scenario["repeats"],
                    "repeat": repeat,
                    "workload": dict(workload),
                    "method": dict(method),
                    "guest": dict(scenario["guest"]),
                    "link": dict(scenario["link"]),
                    "baseline_s": scenario["baseline_s"],
                    "observation_s": observation_s,
                }
            )
    return result


def default_observation_s(window_mb: int) -> float:
    """Return the seconds for which a guest is watched after the switch, when the scenario does not say.

    55 ms a MB, which is demand paging of the whole window at 210 us a page, and 2.2 s for the rest of the guest's
    memory and for its steady rate.
    """
    return round(2.2 + 0.055 * window_mb, 3)
