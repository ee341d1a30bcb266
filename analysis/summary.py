# SPDX-License-Identifier: GPL-3.0-or-later
"""An experiment and what follows from it, ready to be presented."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .curves import Curves, largest_curves
from .errors import NoTableError
from .records import Experiment, read_experiment
from .table import tidy
from .table3 import BASELINE, Table3, build_table3


@dataclass(frozen=True)
class Summary:
    """``trials`` is the tidy table; without ``table``, ``notice`` says why there is none."""

    experiment: Experiment
    trials: pd.DataFrame
    curves: Curves
    table: Table3 | None
    notice: str | None

    @property
    def failed(self) -> bool:
        """Whether there is no table although the experiment is one that compares, or holds nothing valid at all."""
        methods = self.experiment.methods
        compares = BASELINE in methods and len(methods) > 1
        return self.table is None and (compares or not self.trials["valid"].any())


def summarise(directory: Path) -> Summary:
    """Read and analyse the experiment in ``directory``, finished or not.

    Raises:
        AnalysisError: ``directory`` holds no readable experiment.
    """
    experiment = read_experiment(directory)
    trials = tidy(experiment)
    curves = largest_curves(experiment)
    try:
        return Summary(experiment, trials, curves, build_table3(trials, experiment.methods), None)
    except NoTableError as error:
        return Summary(experiment, trials, curves, None, str(error))
