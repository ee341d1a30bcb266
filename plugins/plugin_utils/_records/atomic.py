# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files and directories that appear whole or not at all, also after a crash."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def keep_from_others() -> None:
    """Keep other users from writing to what this process creates from now on: some runners set no umask."""
    os.umask(os.umask(0o077) | 0o002)


def write_file(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, replacing what is there; a reader sees the old file or the new one.

    :raises OSError: the directory is missing or not writable, or the disk is full; ``path`` is then as it was
    """
    temporary = _hidden_sibling(path)
    try:
        _write_synced(temporary, content)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):  # a full disk names no file, and nobody knows the hidden one
            error.filename = str(path)
        raise
    _sync_directory(path.parent)


def write_directory(path: Path, files: Mapping[str, bytes]) -> None:
    """Make the directory ``path`` hold exactly ``files`` (name -> content), replacing an older one as a whole.

    A crash leaves either the old or the new directory at ``path``, and maybe a hidden one that readers ignore. Only on
    file systems that cannot exchange two directories (NFS) can a crash at the wrong instant leave neither.

    :raises OSError: the parent is missing or not writable, or the disk is full; ``path`` is then as it was
    """
    temporary = _hidden_sibling(path)
    try:
        # Not tempfile.mkdtemp: its mode 0700 would hide results written as root from the user who asked for them.
        temporary.mkdir()
        for name, content in files.items():
            _write_synced(temporary / name, content)
        _sync_directory(temporary)
        if path.exists():
            _exchange(temporary, path)
        else:
            os.rename(temporary, path)
        _sync_directory(path.parent)
    finally:
        # What is left under the hidden name is the replaced directory, or the unfinished new one.
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(first: Path, second: Path) -> None:
    """Swap two directories in one step, or in three renames where the file system has no such step."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return
    error = ctypes.get_errno()
    if error not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        raise OSError(error, os.strerror(error), str(second))
    aside = _hidden_sibling(second)
    os.rename(second, aside)
    os.rename(first, second)
    os.rename(aside, first)


def _hidden_sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
