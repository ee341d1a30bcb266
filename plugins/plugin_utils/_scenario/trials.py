# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From a scenario to its trials: which migrations are done, and in which order."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from ...module_utils._guest.calibration import PAPER_MB_PER_S
from ...module_utils._link import PAGE_BYTES, Link
from ...module_utils._options import PAGES_PER_MB
from .systems import SYSTEMS


def trials(scenario: Mapping[str, Any], stacks: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the trials of a normalised scenario in the order in which they are run.

    A repeat holds every workload with every method once, in an order drawn from the seed and the number of the repeat:
    what drifts during an experiment meets all methods alike, and the same scenario always gives the same list. Its
    trials begin with one boot of the guest, and the next repeat's with another: all repeats of one boot would be copies
    of one guest.

    With ``stacks``, each is run on every stack, one right after the other. Which goes first changes from one to the
    next, and is another one in the next repeat, so that drift favours none.
    """
    cells = [(workload, method) for workload in scenario["workloads"] for method in scenario["methods"]]
    result: list[dict[str, Any]] = []
    for repeat in range(1, scenario["repeats"] + 1):
        order = list(cells)
        random.Random(f"{scenario['seed']}/{repeat}").shuffle(order)
        for place, (workload, method) in enumerate(order):
            observation_s = scenario["observation_s"]
            if observation_s is None:
                observation_s = default_observation_s(
                    scenario["guest"], workload["window_mb"], Link(**scenario["link"]), rate_mb_per_s(workload)
                )
            for stack in _turned(stacks or [None], repeat - 1 + place):
                result.append(
                    {
                        "id": trial_id(scenario["workloads"], repeat, workload, method["name"], stack),
                        "index": len(result) + 1,
                        "total": len(cells) * scenario["repeats"] * max(len(stacks), 1),
                        "repeat": repeat,
                        "state": state_of(scenario, repeat),
                        **({} if stack is None else {"stack": stack}),
                        "workload": dict(workload),
                        "method": dict(method),
                        "guest": dict(scenario["guest"]),
                        "link": dict(scenario["link"]),
                        "baseline_s": scenario["baseline_s"],
                        "observation_s": observation_s,
                    }
                )
    return result


def _turned(stacks: Sequence[str | None], times: int) -> list[str | None]:
    """Return ``stacks`` with as many of them moved from the beginning to the end."""
    return [stacks[(times + place) % len(stacks)] for place in range(len(stacks))]


def saved_states(scenario: Mapping[str, Any]) -> int:
    """Return how many saved states of each workload the scenario uses, each of a boot of its own."""
    return int(min(scenario["saved_states"], scenario["repeats"]))


def state_of(scenario: Mapping[str, Any], repeat: int) -> int:
    """Return the number of the saved state that a repeat begins with."""
    return (repeat - 1) % saved_states(scenario) + 1


def rate_mb_per_s(workload: Mapping[str, Any]) -> float | None:
    """Return the rate that a workload is to walk at; None if its work is given instead."""
    if workload["work_per_page"] is not None:
        return None
    return float(workload["rate_mb_per_s"] or PAPER_MB_PER_S)


def trial_id(
    workloads: Sequence[Mapping[str, Any]],
    repeat: int,
    workload: Mapping[str, Any],
    method: str,
    stack: str | None = None,
) -> str | None:
    """Return the name of the trial of ``workload``, one of the scenario's ``workloads``; None in imported data."""
    window_mb, pattern = workload["window_mb"], workload["pattern"]
    if window_mb is None:
        return None
    on = "" if stack is None else f"{stack}-"
    name = f"r{repeat:02d}-{on}{int(window_mb):04d}mb-{pattern}-{method}"
    alike = [each for each in workloads if (each["window_mb"], each["pattern"]) == (window_mb, pattern)]
    return name + _other_settings(workload) if len(alike) > 1 else name


def _other_settings(workload: Mapping[str, Any]) -> str:
    """Return what tells workloads of one window and pattern apart; nothing for one with the defaults."""
    rate, work, writes = (workload[key] for key in ("rate_mb_per_s", "work_per_page", "writes_percent"))
    parts = (
        "" if rate is None else f"-{rate}mb_per_s",
        "" if work is None else f"-w{work}",
        "" if writes in (None, 100) else f"-writes{writes}",
    )
    return "".join(parts)


def default_observation_s(
    guest: Mapping[str, Any], window_mb: int, link: Link, rate_mb_per_s: float | None = None
) -> float:
    """Return the seconds for which a guest is watched after the switch, when the scenario does not say.

    The window's pages, those of the guest's system and its idle ones cross the link. Each of the window's, and of what
    the system uses meanwhile, is a fault of its own, which takes an exchange over the link and 150 us in the hosts;
    each of the guest's others, which are empty, takes 3 us.
    Half a second is for the steady rate. A guest of a rate of its own walks the window at half of it, if a quota holds
    it to that.
    """
    memory_mb: int = guest["memory_mb"]
    idle_mb: int = guest["idle_mb"]
    system = SYSTEMS[guest["system"]]
    link_s = (window_mb + system.own_mb + idle_mb) * 8.4 / link.rate_mbit
    faults_s = (window_mb + system.busy_mb) * PAGES_PER_MB * (150 + link.exchange_us(PAGE_BYTES)) / 1e6
    walk_s = 0 if rate_mb_per_s is None else 2 * window_mb / rate_mb_per_s
    return round(0.5 + link_s + faults_s + walk_s + 0.0007 * memory_mb, 2)
