# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Processes beside the module, which outlive it when it is killed.

A program is a module of this package, handed to Python as text: Ansible runs modules from an archive that may be gone
by then. So it must import nothing but the standard library, and have a ``NAME``, a ``main`` and no dollar sign, which
systemd would expand. It writes ``READY`` once it is on duty.
"""

from __future__ import annotations

import inspect
import select
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from types import ModuleType

READY = b"ready\n"
# How long a process may take to start, and to end by itself.
START_S, END_S = 10.0, 2.0
SYSTEMD = Path("/run/systemd/system")  # there while systemd runs this host (sd_booted(3))


def start(
    program: ModuleType, *arguments: str, stdin: int = subprocess.PIPE, systemd: Path = SYSTEMD
) -> subprocess.Popen[bytes]:
    """Start a process; returns once it is on duty.

    :param program: what it runs.
    :param stdin: its standard input, by default a pipe.
    :raises OSError: there can be none.
    """
    for command in commands(program, *arguments, systemd=systemd):
        with suppress(FileNotFoundError):
            process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=subprocess.PIPE,  # none of the module's: Ansible and sshd wait until those are closed
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
            output = process.stdout
            if output and select.select([output], [], [], START_S)[0] and output.readline() == READY:
                return process
            end(process)
    raise OSError(f"the process {program.NAME} did not start")


def commands(program: ModuleType, *arguments: str, systemd: Path = SYSTEMD) -> list[list[str]]:
    """Commands that start a process, the best first.

    As a child it would end with the module's session where logind ends what a user leaves behind.
    """
    child = [sys.executable, "-I", "-c", inspect.getsource(program), *arguments]
    # Without a description, the journal would have the whole program.
    names = f"--unit={program.NAME}-{uuid.uuid4().hex}", f"--description={program.NAME}"
    unit = ["systemd-run", "--quiet", "--collect", "--pipe", *names, "--", *child]
    return [unit, child] if systemd.is_dir() else [child]


def end(process: subprocess.Popen[bytes], patient: bool = True) -> None:
    """Close a process's pipes, upon which it ends.

    :param patient: wait a moment until it has.
    """
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    if patient:
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
