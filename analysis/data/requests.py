# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The page requests of a trial as they crossed the wire, ``requests.csv``, and which trial represents a method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...plugins.plugin_utils._records.errors import InputError
from ...plugins.plugin_utils._records.printable import printable
from ...plugins.plugin_utils._records.records import Experiment, Record, Skipped
from ...plugins.plugin_utils._records.regular import open_regular

REQUESTS_FILE = "requests.csv"
PAGE_BYTES = 4096
_MOST_MIB = 1024
_MOST_BYTES = 1 << 40  # of guest memory
HEADER = ("time_s", "block", "start", "asked", "sent_start", "sent")
# Of records made before requests could be extended to both sides: all is guest memory, sent from the page asked for.
_OLD_HEADER = ("time_s", "start", "asked", "sent")

Times = npt.NDArray[np.float64]
Pages = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """When and where guest memory was asked for: ``time_s`` from resume and first ``page``, of equal length."""

    time_s: Times
    page: Pages


@dataclass(frozen=True)
class Requests:
    """What was asked for and what was sent, in pages of 4 KiB of guest memory, in the order of the wire.

    All arrays have the same length: ``page`` and ``asked`` are what QEMU wanted, ``sent_page`` and ``sent`` what the
    source was told; the latter covers the former.
    """

    page: Pages
    asked: Pages
    sent_page: Pages
    sent: Pages


def read_places(path: Path) -> Places:
    """Read when and where guest memory was asked for: all that a figure of millions of requests needs.

    :raises InputError: the file is not readable, has another header, or is truncated
    """
    frame = _read(path, ("time_s", "start"))
    return Places(frame["time_s"].to_numpy(), frame["start"].to_numpy() // PAGE_BYTES)


def read_requests(path: Path) -> Requests:
    """Read what was asked for and what was sent.

    :raises InputError: as `read_places`
    """
    frame = _read(path, ("start", "asked", "sent_start", "sent"))
    return Requests(*(frame[name].to_numpy() // PAGE_BYTES for name in frame))


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return ``columns`` of the requests for guest memory, in that order."""
    try:
        with open_regular(path, _MOST_MIB) as file:
            header = tuple(file.readline(200).decode("ascii", "replace").rstrip("\r\n").split(","))
            if header not in (HEADER, _OLD_HEADER):
                raise InputError(f"{path.name} does not begin with {','.join(HEADER)}")
            types = {name: "float64" if name == "time_s" else "int64" for name in columns if name in header}
            if "block" in header:
                types["block"] = "category"
            file.seek(0)
            with np.errstate(invalid="raise"):  # a place beyond the range of an integer
                frame = pd.read_csv(file, usecols=list(types), dtype=types, engine="c")
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}") from None
    except (ValueError, ArithmeticError) as error:  # pandas' own parser errors are ValueErrors
        raise InputError(f"{path.name} is truncated or not from the testbed: {printable(str(error))}") from None
    if "block" in frame:
        is_guest_memory = frame["block"].notna()
        frame = frame if is_guest_memory.all() else frame[is_guest_memory]
    if "sent_start" in columns and "sent_start" not in frame:
        frame = frame.assign(sent_start=frame["start"])
    frame = frame[list(columns)]
    if "time_s" in columns and not np.isfinite(frame["time_s"].to_numpy()).all():
        raise InputError(f"{path.name} holds times that are not numbers")
    numbers = [name for name in columns if name != "time_s"]
    if len(frame) and (frame[numbers].min() < 0).any():
        raise InputError(f"{path.name} holds negative places")
    if len(frame) and (frame[numbers].max() > _MOST_BYTES).any():
        raise InputError(f"{path.name} asks for memory beyond that of any guest")
    return frame


@dataclass(frozen=True)
class Traces:
    """The trace of one trial per method, in the scenario's order.

    :ivar workload: its label
    :ivar memory_mb: the guest's memory
    :ivar what: describes the workload and the choice of trials
    :ivar skipped: the traces that are not usable
    """

    workload: str
    by_method: Mapping[str, Places]
    memory_mb: float
    what: str
    skipped: tuple[Skipped, ...]


def typical_records(experiment: Experiment) -> tuple[str, dict[str, Record]]:
    """Choose, for each method, the valid trial with the median number of requests among those with a trace.

    :returns: the workload (its label), the largest among those for which most methods have such a trial, and the trial
        by method, in the scenario's order; an empty label if there is none
    """
    candidates: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    windows: dict[str, int] = {}
    for record in experiment.records:
        if record.valid and (record.directory / REQUESTS_FILE).exists():
            candidates[record.cell.workload][record.cell.method].append(record)
            windows[record.cell.workload] = record.data["trial"]["workload"]["window_mb"] or 0
    if not candidates:
        return "", {}
    workload = max(candidates, key=lambda label: (len(candidates[label]), windows[label]))
    of_method = candidates[workload]
    return workload, {method: _middle(of_method[method]) for method in experiment.methods if method in of_method}


def typical_traces(experiment: Experiment) -> Traces:
    """Read the traces of `typical_records`."""
    memory_mb = float(experiment.scenario["guest"]["memory_mb"] or 0)
    workload, records = typical_records(experiment)
    if not records:
        return Traces("", {}, memory_mb, "", ())
    by_method, skipped = {}, []
    for method, record in records.items():
        try:
            by_method[method] = read_places(record.directory / REQUESTS_FILE)
        except InputError as error:
            skipped.append(Skipped(record.trial_id, f"not in the figures of requests: {error}"))
    what = f"{workload}; for each method the trial with the median number of requests"
    return Traces(workload, by_method, memory_mb, what, tuple(skipped))


def _middle(records: list[Record]) -> Record:
    ordered = sorted(records, key=lambda record: record.data["measurements"]["page_requests"] or 0)
    return ordered[(len(ordered) - 1) // 2]
