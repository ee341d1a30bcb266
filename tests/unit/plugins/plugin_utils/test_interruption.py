# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The commands that follow an interrupted run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.cli.playbook import PlaybookCLI
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.plugin_utils._console.interruption import (
    as_typed,
    cleanup_command,
    resume_command,
)

ROOT = Path(__file__).resolve().parents[4]
# What a run is asked to do, rather than where and as whom.
OTHER = {
    *("args", "check", "diff", "force_handlers", "forks", "help", "listhosts", "listtags", "listtasks", "skip_tags"),
    *("start_at_task", "step", "syntax", "tags", "verbosity", "version"),
}


def parsed(arguments: list[str]) -> dict[str, Any]:
    cli = PlaybookCLI(["ansible-playbook", *arguments])
    cli.init_parser()
    return vars(cli.post_process_args(cli.parser.parse_args(arguments)))


def handed_on(arguments: list[str]) -> list[str]:
    command = cleanup_command("/x/cleanup.yml", parsed(["experiment.yml", *arguments]))
    assert command[:6] == [sys.executable, "-P", "-m", "ansible", "playbook", "/x/cleanup.yml"]
    return command[6:]


def reached(arguments: list[str]) -> dict[str, Any]:
    return {name: value for name, value in parsed(arguments).items() if name not in OTHER}


@pytest.mark.parametrize(
    "arguments",
    [
        "-c local",
        "-clocal",
        "--connection=local",
        "--ssh-common-args=-oProxyJump=gate",
        "--ssh-common-args '-o ProxyJump=gate'",
        "--scp-extra-args=-l8 --sftp-extra-args=-f --ssh-extra-args=-A",
        "-u admin --private-key key -T 60",
        "-i lab -i more, -l hypervisors",
        '-e @file.yml -e \'{"a": "b c"}\' -e x=1 -e x=2',
        "-b -K --become-user root --become-method su",
        "-k --become-pass-file secret",
        "--conn-pass-file secret",
        "-J --vault-id dev@file --vault-id prod@prompt",
        "--vault-password-file one --vault-pass-file two",
        "-M here:there -M elsewhere",
    ],
)
def test_the_cleanup_reaches_the_hosts_as_the_run_did(arguments: str) -> None:
    began = shlex.split(arguments)
    assert reached(["x.yml", *handed_on(began)]) == reached(["x.yml", *began])


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Any options that ansible-playbook has for reaching hosts, in any form."""
    cli = PlaybookCLI(["ansible-playbook"])
    cli.init_parser()
    # Ansible replaces variables and ~ in paths; argparse loses a value that is only "--".
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0~$"), min_size=1).filter("--".__ne__)
    words = []
    for action in draw(
        st.lists(st.sampled_from([action for action in cli.parser._actions if action.dest not in OTHER]))
    ):
        option = draw(st.sampled_from(action.option_strings))
        value = str(draw(st.integers(0))) if action.dest == "timeout" else draw(text)
        words.append(option if action.nargs == 0 else f"{option}={value}" if option[1] == "-" else option + value)
    return words


@settings(deadline=None)
@given(command_lines())
def test_whatever_ansible_accepts_is_handed_on(began: list[str]) -> None:
    try:
        wanted = reached(["x.yml", *began])
    except SystemExit:  # of two options, only one is allowed
        reject()
    assert reached(["x.yml", *handed_on(began)]) == wanted


def test_without_options_nothing_is_handed_on_but_the_inventory() -> None:
    assert [word.partition("=")[0] for word in handed_on([])] == ["--inventory"]


def test_resume_is_the_same_command_with_the_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAKELEVEL", raising=False)
    program = tmp_path / ".venv/bin/ansible-playbook"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    began = [str(program), "experiment.yml", "-e", "scenario=paper"]
    resumed = [".venv/bin/ansible-playbook", *began[1:], "-e", "experiment_id=mine"]
    assert resume_command(began, "mine") == resumed
    assert resume_command(resumed, "mine") == resumed


# Stands for ansible-playbook: notes how it was called, and prints how it is to be resumed.
NOTING = """
import json, os, pathlib, sys
sys.path.insert(0, ROOT)
import tests.unit.conftest
from ansible_collections.vcsp.testbed.plugins.plugin_utils._console.interruption import as_typed, resume_command
called = [os.getcwd(), sys.argv[1:], os.environ["ANSIBLE_CONFIG"]]
print(json.dumps(called), file=pathlib.Path(os.environ["NOTES"]).open("a"))
print(as_typed(resume_command(sys.argv, "mine")))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with our Makefile, whose ansible-playbook only notes how it was called."""
    folder = tmp_path / "my checkout"
    folder.mkdir()
    # A link, which make takes for another checkout's and leaves as it is.
    (folder / ".venv").symlink_to(tmp_path / "venv")
    program = tmp_path / "venv/bin/ansible-playbook"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{sys.executable}\nROOT = {str(ROOT)!r}\n{NOTING}")
    program.chmod(0o755)
    (folder / "requirements.txt").touch()
    (folder / ".venv/.requirements").touch()
    shutil.copy(ROOT / "Makefile", folder)
    return folder


@pytest.mark.parametrize(
    "began",
    [
        "make -C 'my checkout' experiment",
        "make -C 'my checkout' smoke",
        "cd 'my checkout' && make experiment SCENARIO='a b.yml'"
        """ ARGS='-i lab --ssh-common-args="-o User=it'\\''s" -e x=$$$$HOME'""",
        "cd 'my checkout' && ANSIBLE_CONFIG=mine.cfg .venv/bin/ansible-playbook experiment.yml -e 'scenario=a b.yml'",
        'cd / && "$OLDPWD/my checkout/.venv/bin/ansible-playbook" vcsp.testbed.experiment',
    ],
    ids=["make experiment", "make smoke", "make with options", "without make", "another directory"],
)
def test_the_resume_command_runs_as_printed(checkout: Path, tmp_path: Path, began: str) -> None:
    notes = tmp_path / "notes"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "SUDO_"))
    }
    environment |= {"NOTES": str(notes), "ANSIBLE_CONFIG": "/etc/theirs.cfg"}

    def typed(line: str, cwd: Path) -> str:
        command = ["sh", "-c", line]
        return subprocess.run(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout

    (printed,) = [line for line in typed(began, tmp_path).splitlines() if "experiment_id=mine" in line]
    typed(printed, Path("/"))
    first, second = (json.loads(line) for line in notes.read_text().splitlines())
    first[1] += ["-e", "experiment_id=mine"]
    assert second == first


def test_what_was_run_with_sudo_is_resumed_with_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUDO_UID", "1000")
    assert as_typed(["make", "experiment"]) == f"cd {tmp_path} && sudo make experiment"
