# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Means of trials with their 95 % intervals."""

from __future__ import annotations

import pandas as pd

from .interval import t_quantile


def means(trials: pd.DataFrame, by: list[str], measurement: str) -> pd.DataFrame:
    """Average ``measurement`` over the valid ones of ``trials`` within each group of the columns ``by``.

    Returns:
        A row a group that has values, in order of appearance: ``by``, ``mean``, ``low``, ``high`` (Student's t
        interval, in the unit of the measurement; NaN for a single trial) and ``n``.
    """
    values = trials[trials["valid"]].dropna(subset=[measurement])
    groups = values.groupby(by, sort=False, dropna=False)[measurement]
    frame = groups.agg(["mean", "sem", "count"]).reset_index()
    half = frame["sem"] * t_quantile((frame["count"] - 1).to_numpy(dtype="float64"))
    frame["low"], frame["high"] = frame["mean"] - half, frame["mean"] + half
    return frame.rename(columns={"count": "n"}).drop(columns="sem")
