# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An experiment as one small file to keep: plain ``tar`` unpacks it, and its report can be drawn again from that.

Traces of page requests make up nearly all of an experiment. Kept are those that a report reads: of the trials that
prefetched, and of the one trial per method that stands for the others.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from ...plugins.plugin_utils._records.atomic import write_file
from ...plugins.plugin_utils._records.errors import InputError
from ...plugins.plugin_utils._records.records import Experiment
from ...plugins.plugin_utils._records.regular import read_regular
from .checked import read_checked
from .requests import REQUESTS_FILE, typical_records
from .telemetry import TELEMETRY_FILE

SUFFIX = ".tar.xz"
_MOST_MIB = 1024


def pack(directory: Path, archive: Path) -> int:
    """Write the experiment in ``directory`` to ``archive``; the same experiment gives the same bytes.

    :returns: the number of bytes written
    :raises InputError: ``directory`` holds no readable experiment, or ``archive`` is not named as what it will be
    :raises OSError: the archive cannot be written
    """
    if not archive.name.endswith(SUFFIX):
        raise InputError(f"{archive}: must end in {SUFFIX}, because that is what it will be")
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:xz") as tar:
        for path in _kept(directory, read_checked(directory)):
            data = read_regular(path, _MOST_MIB)
            entry = tarfile.TarInfo(path.relative_to(directory).as_posix())
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    write_file(archive, content.getvalue())
    return len(content.getvalue())


def _kept(directory: Path, experiment: Experiment) -> Iterator[Path]:
    views = [experiment.of_stack(stack) for stack in experiment.stacks] or [experiment]
    traced = {record.trial_id for view in views for record in typical_records(view)[1].values()}
    yield directory / "experiment.json"
    for record in sorted(experiment.records, key=lambda record: record.trial_id):
        needed = record.valid and (record.method.prefetches or record.trial_id in traced)
        for name in ("record.json", TELEMETRY_FILE, *([REQUESTS_FILE] if needed else [])):
            if (record.directory / name).exists():
                yield record.directory / name
