# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The commands that follow an interrupted run: the one that cleans up, and the one that resumes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

# Options of ansible-playbook that matter for reaching the hosts: name of the parsed option -> option.
_SINGLE = {
    "remote_user": "--user",
    "private_key_file": "--private-key",
    "ssh_common_args": "--ssh-common-args",
    "ssh_extra_args": "--ssh-extra-args",
    "become_user": "--become-user",
    "become_password_file": "--become-password-file",
    "connection_password_file": "--connection-password-file",
}
_REPEATED = {"inventory": "--inventory", "vault_ids": "--vault-id", "vault_password_files": "--vault-password-file"}


def cleanup_command(playbook: str, options: Mapping[str, Any]) -> list[str]:
    """Return the command that runs a playbook on the hosts of a run, given that run's parsed options.

    Passwords that were typed in are not known and are left out.
    """
    command = [sys.executable, "-m", "ansible", "playbook", playbook]
    for name, option in _REPEATED.items():
        for value in options.get(name) or ():
            command += [option, str(value)]
    for name, option in _SINGLE.items():
        if options.get(name):
            command += [option, str(options[name])]
    if options.get("become"):
        command.append("--become")
    for value in options.get("extra_vars") or ():
        command += ["--extra-vars", value.decode() if isinstance(value, bytes) else str(value)]
    return command


def resume_command(arguments: Sequence[str], experiment_id: str) -> list[str]:
    """Return the command line of a run, changed to resume its experiment.

    :param arguments: command line, program first
    """
    program, rest = arguments[0], list(arguments[1:])
    if program.startswith(os.getcwd() + os.sep):
        program = os.path.relpath(program)
    wanted = f"experiment_id={experiment_id}"
    # When an extra variable is given twice, the last one counts.
    return [program, *rest] if wanted in rest else [program, *rest, "-e", wanted]
