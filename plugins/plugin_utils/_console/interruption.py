# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What follows an interruption: a trial to clean up, and the commands for that and to resume."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import FrameType
from typing import Any

from ansible.cli.arguments import option_helpers

# Functions that add the options of ansible-playbook that say how hosts are reached. Those that choose what is done
# there, such as --tags or --check, must not hold for the cleanup.
_OPTIONS = (
    option_helpers.add_connect_options,
    option_helpers.add_runas_options,
    option_helpers.add_inventory_options,
    option_helpers.add_vault_options,
    option_helpers.add_runtask_options,
    option_helpers.add_module_options,
)


class Interrupter:
    """A signal handler that shuts Ansible down, and hears nothing more while a trial has to be cleaned up.

    :param in_trial: tells whether a trial is running
    """

    def __init__(self, ansible_handler: Callable[[int, FrameType | None], Any], in_trial: Callable[[], bool]) -> None:
        self._ansible_handler = ansible_handler
        self._in_trial = in_trial
        self._pid = os.getpid()

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a worker that has not set its own handlers yet
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        try:
            # Notifies the workers and raises KeyboardInterrupt, at which Ansible shuts down in an orderly way.
            self._ansible_handler(signal.SIGINT, frame)
        finally:
            # The handler has restored the default, so a second Ctrl-C would kill us before the cleanup.
            if self._in_trial():
                be_patient()

    @classmethod
    def install(cls, in_trial: Callable[[], bool]) -> bool:
        """Handle Ctrl-C and its like; return False if another guard already does."""
        ansible_handler = signal.getsignal(signal.SIGINT)
        if isinstance(ansible_handler, cls) or not callable(ansible_handler):
            return False
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, cls(ansible_handler, in_trial))
        return True


def be_patient() -> None:
    """Ignore further interruptions, but not with SIG_IGN, which child processes would inherit."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, lambda _signum, _frame: None)


def cleanup_command(playbook: str, options: Mapping[str, Any]) -> list[str]:
    """Return the command that runs a playbook on the hosts of a run, given that run's parsed options."""
    parser = option_helpers.ArgumentParser(add_help=False)
    for add in _OPTIONS:
        add(parser)
    # -P: what lies in the current directory is not for Python to import.
    command = [sys.executable, "-P", "-m", "ansible", "playbook", playbook]
    for action in parser._actions:
        option = next(name for name in action.option_strings if name.startswith("--"))
        value = options.get(action.dest)
        if value is None or value == action.default:
            continue
        if action.nargs == 0:
            command += [option] if value else []
        elif isinstance(action, option_helpers.PrependListAction):
            command.append(f"{option}={os.pathsep.join(value)}")
        else:
            # In one word: a value may begin with a dash.
            command += [f"{option}={each}" for each in (value if isinstance(value, list | tuple) else [value])]
    return command


def without_asking(
    options: Mapping[str, Any], passwords: Mapping[str, str | None], vault: Iterable[tuple[str, Any]], files: ExitStack
) -> dict[str, Any]:
    """Return a run's parsed options with its passwords in files, for a cleanup that cannot ask for them.

    :param passwords: name of the option for the password's file -> the password, if there is one
    :param vault: the vault's secrets as Ansible keeps them, by their names
    :param files: context in which the files exist
    """

    def file_of(secret: bytes) -> str:
        file = files.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115 - files closes it
        file.write(secret)
        file.flush()
        return file.name

    asked = dict.fromkeys(("ask_pass", "become_ask_pass", "ask_vault_pass"), False)
    given = {option: file_of(password.encode()) for option, password in passwords.items() if password}
    vault_ids = [f"{name}@{file_of(secret.bytes)}" for name, secret in vault]
    return {**options, **asked, **given, "vault_ids": vault_ids, "vault_password_files": []}


def resume_command(arguments: Sequence[str], experiment_id: str) -> list[str]:
    """Return the command line of a run, changed to resume its experiment.

    :param arguments: command line, program first
    """
    program, rest = [arguments[0]], list(arguments[1:])
    if not os.access(program[0], os.X_OK):  # python -m ansible playbook
        program = sys.orig_argv[: -len(rest)]
    elif program[0].startswith(os.getcwd() + os.sep):
        program = [os.path.relpath(program[0])]
    wanted = f"experiment_id={experiment_id}"
    # When an extra variable is given twice, the last one counts.
    rest += [] if wanted in rest else ["-e", wanted]
    # As the Makefile writes it.
    if "MAKELEVEL" in os.environ and rest[:2] == ["experiment.yml", "-e"] and rest[2].startswith("scenario="):
        variables = {"SCENARIO": rest[2].removeprefix("scenario="), "ARGS": shlex.join(rest[3:])}
        return ["make", "experiment", *(f"{name}={value.replace('$', '$$')}" for name, value in variables.items())]
    return [*program, *rest]


def as_typed(command: Sequence[str]) -> str:
    """Return a command as a line for the user's shell, wherever that is and whatever it calls its configuration."""
    words = list(command)
    if words[0] != "make" and "ANSIBLE_CONFIG" in os.environ:
        words = ["env", f"ANSIBLE_CONFIG={os.environ['ANSIBLE_CONFIG']}", *words]
    if "SUDO_UID" in os.environ:
        words = ["sudo", *words]
    return f"cd {shlex.quote(os.getcwd())} && {shlex.join(words)}"
