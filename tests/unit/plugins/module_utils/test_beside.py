# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Processes that outlive the module: how they are started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._destination import deadman_process
from ansible_collections.vcsp.testbed.plugins.module_utils._host import beside, monitor_holder

PROGRAMS = pytest.mark.parametrize("program", [deadman_process, monitor_holder], ids=["dead-man", "monitor"])


@PROGRAMS
def test_systemd_is_asked_first_where_it_runs(program: ModuleType, tmp_path: Path) -> None:
    unit, child = beside.commands(program, "argument", systemd=tmp_path)
    assert unit[:4] == ["systemd-run", "--quiet", "--collect", "--pipe"]
    assert f"--description={program.NAME}" in unit, "the journal would have the whole program instead"
    assert unit[unit.index("--") + 1 :] == child
    assert beside.commands(program, "argument", systemd=tmp_path / "none") == [child]
    *_python, text, argument = child
    assert argument == "argument"
    assert "$" not in text, "systemd would take it for a variable"


@PROGRAMS
def test_a_program_needs_nothing_but_python(program: ModuleType, tmp_path: Path) -> None:
    *python, text = beside.commands(program, systemd=tmp_path / "none")[0]
    assert python == [sys.executable, "-I", "-c"]
    loads = text.replace('if __name__ == "__main__":', "if False:")
    subprocess.run([*python, loads], check=True, cwd=tmp_path, timeout=60)
    assert len(program.NAME) <= 15, "the kernel keeps no more of it"
