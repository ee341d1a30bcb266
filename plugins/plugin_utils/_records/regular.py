# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files from elsewhere, opened only if they can be read to their end: a pipe has none, and a device may have none."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

MIB = 1 << 20


def open_regular(path: Path, most_mib: int) -> BinaryIO:
    """Open ``path`` for reading.

    :raises OSError: there is no such file, it is not a regular one, or it is larger than ``most_mib``
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY), "rb", closefd=True)
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size <= most_mib * MIB:
        return file
    file.close()
    if stat.S_ISREG(status.st_mode):
        raise OSError(errno.EFBIG, f"it is larger than {most_mib} MiB", str(path))
    raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def read_regular(path: Path, most_mib: int) -> bytes:
    """Return the content of ``path``.

    :raises OSError: as `open_regular`, or it cannot be read
    """
    with open_regular(path, most_mib) as file:
        return file.read()
