# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An experiment and what follows from it, ready to be presented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ..plugins.plugin_utils._records.records import Experiment
from .data.checked import read_checked
from .data.likeness import Difference, differences
from .data.roles import BASELINE, baseline_of, roles
from .data.table import tidy
from .statistics.agreement import agreement, disagreements, instrument_readings
from .statistics.best import Leader, leaders
from .statistics.curves import Curves, largest_curves
from .statistics.decomposition import time_parts
from .statistics.factorial import Effect, factorial_effects
from .statistics.interruptions import interruptions
from .statistics.latencies import latency_warnings
from .statistics.links import link_warnings
from .statistics.neighbours import neighbour_warnings
from .statistics.processors import stolen_warnings
from .statistics.quality import NoiseWarning, SelfCheck, noise_warnings, self_checks
from .statistics.rates import rate_warnings
from .statistics.table3 import NoTableError, Table3, build_table3


@dataclass(frozen=True)
class Summary:
    """What is known of an experiment; without ``table``, ``notice`` says why there is none.

    :ivar trials: the tidy table
    :ivar unlike: how the hosts of the trials differ; such trials are not pooled, and then no trial counts as valid
    :ivar parts: the table of `time_parts`
    :ivar agreement: the table of `agreement.agreement`
    :ivar interruptions: the table of `interruptions.interruptions`
    """

    experiment: Experiment
    trials: pd.DataFrame
    curves: Curves
    table: Table3 | None
    leaders: tuple[Leader, ...]
    notice: str | None
    unlike: tuple[Difference, ...]
    effects: tuple[Effect, ...]
    parts: pd.DataFrame
    agreement: pd.DataFrame
    interruptions: pd.DataFrame
    warnings: tuple[NoiseWarning, ...]
    self_checks: tuple[SelfCheck, ...]

    @property
    def roles(self) -> dict[str, str]:
        """The paper's name of a method -> its name here, by settings."""
        return roles(self.experiment.scenario["methods"])

    @property
    def failed(self) -> bool:
        """Whether there is no table although the experiment compares methods, or no trial is valid at all."""
        methods = self.experiment.methods
        compares = len(methods) > 1 and (BASELINE in methods or baseline_of(self.roles) is not None)
        return self.table is None and (compares or not self.trials["valid"].any())


def summarise(directory: Path) -> Summary:
    """Read and analyse the experiment in ``directory``, finished or not.

    :raises InputError: ``directory`` holds no readable experiment
    """
    return summary_of(read_checked(directory))


def summary_of(experiment: Experiment) -> Summary:
    """Analyse an experiment of one stack (see `checked.read_checked`)."""
    trials = tidy(experiment)
    unlike = differences(record for record in experiment.records if record.valid)
    pooled = experiment
    if unlike:
        trials = trials.assign(
            valid=False, reasons=trials["reasons"].where(~trials["valid"], "not pooled: unlike hosts")
        )
        pooled = replace(experiment, records=())
    found = roles(experiment.scenario["methods"])
    table, notice = _table(trials, experiment.methods, found, unlike)
    checks = self_checks(trials, experiment.methods)
    readings = instrument_readings(pooled)
    return Summary(
        experiment,
        trials,
        largest_curves(pooled),
        table,
        leaders(trials, experiment.methods),
        notice,
        unlike,
        factorial_effects(trials, found),
        time_parts(pooled),
        agreement(readings),
        interruptions(pooled),
        ()
        if unlike
        else (
            *link_warnings(experiment.records),
            *stolen_warnings(experiment.records),
            *neighbour_warnings(experiment.records),
            *rate_warnings(experiment.records),
            *disagreements(readings, experiment.scenario["methods"]),
            *latency_warnings(experiment),
            *noise_warnings(trials, table, checks),
        ),
        checks,
    )


def _table(
    trials: pd.DataFrame, methods: Sequence[str], found: Mapping[str, str], unlike: Sequence[Difference]
) -> tuple[Table3 | None, str | None]:
    """Return Table 3, or why there is none."""
    if unlike:
        return None, (
            "no Table 3: trials of unlike hosts are not pooled; run the experiment again under a new experiment_id, or"
            f" remove the trials of one kind ({'; '.join(map(str, unlike))})"
        )
    try:
        return build_table3(trials, methods, found), None
    except NoTableError as error:
        return None, str(error)
