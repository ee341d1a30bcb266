# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The Makefile on strangers' machines. Everything that it would install or run is a script that says what it was."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
(RUNNER,) = re.findall(r"^ansible-runner==.*", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
# Stands in for the system's Python: makes virtual environments whose programs only report.
PYTHON = """#!/bin/sh
case "$*" in
*" pip "*) [ ! "$OFFLINE" ] || { echo 'ERROR: No matching distribution found'; exit 1; } ;;
*" venv "*)
  for venv; do :; done
  mkdir -p "$venv/bin"; cp "$0" "$venv/bin/python"
  [ -e "$venv/bin/pip" ] || echo "#!$(pwd)/$venv/bin/python" >"$venv/bin/pip"
  cat >"$venv/bin/ansible-playbook" <<'END'
#!/bin/sh
echo "played $1 with $(locale charmap) in $PATH, ${TMPDIR-unset}"; sleep 0.2; echo "ended $1"
END
  cp "$venv/bin/ansible-playbook" "$venv/bin/pytest"
  chmod +x "$venv"/bin/*
  ;;
*"(3, 12)"*) [ ! "$OLD" ] ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return new_checkout(tmp_path / "vcsp testbed")


def new_checkout(folder: Path) -> Path:
    folder.mkdir()
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, folder)
    python = folder / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return folder


def make(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "PYTHON=./python", *arguments],
        cwd=checkout,
        env={**outside, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("locale", ["C", "POSIX", "de_DE.UTF-8", "de_DE.ISO-8859-1"])
def test_the_shells_locale_does_not_matter(checkout: Path, locale: str) -> None:
    assert "with UTF-8" in make(checkout, "experiment", LC_ALL=locale, LANG=locale).stdout


def test_targets_are_made_one_after_the_other(checkout: Path) -> None:
    done = make(checkout, "lab", "provision", MAKEFLAGS="-j4")
    assert re.findall(r"(?:played|ended) \S+", done.stdout) == [
        "played playbooks/lab.yml",
        "ended playbooks/lab.yml",
        "played playbooks/provision.yml",
        "ended playbooks/provision.yml",
    ]


def test_the_shell_of_a_plain_su_finds_the_programs_of_root(checkout: Path) -> None:
    done = make(checkout, "experiment", PATH="/usr/local/bin:/usr/bin:/bin")
    assert ":/usr/sbin:" in done.stdout


def test_a_folder_for_temporary_files_is_used_where_it_exists(checkout: Path, tmp_path: Path) -> None:
    assert f", {tmp_path}\n" in make(checkout, "experiment", TMPDIR=str(tmp_path)).stdout
    assert ", unset\n" in make(checkout, "experiment", TMPDIR="/nowhere").stdout


@pytest.mark.parametrize("variable", ["HOME", "ANSIBLE_HOME"])
def test_a_home_that_cannot_be_written_is_refused_in_one_sentence(checkout: Path, variable: str) -> None:
    make(checkout, "venv")
    done = make(checkout, "experiment", **{variable: "/dev/null/home"})
    assert done.returncode == 2
    assert "cannot be written: set HOME or ANSIBLE_HOME to a folder of yours." in done.stdout
    assert "played" not in done.stdout


@pytest.mark.parametrize("character", ["$", '"', "'", ":", "`"])
def test_a_folder_whose_name_cannot_work_is_refused_in_one_sentence(tmp_path: Path, character: str) -> None:
    done = make(new_checkout(tmp_path / f"a{character}b"), "experiment")
    assert done.returncode == 2
    assert "which virtual environments cannot have: rename it" in done.stdout
    assert len(done.stdout.splitlines()) == 1, done.stdout


@pytest.mark.parametrize("name", ["Übung", "a;b", "{{ a }}", "100%", "a&b", "#1", "back\\slash"])
def test_every_other_folder_works(tmp_path: Path, name: str) -> None:
    done = make(new_checkout(tmp_path / name), "experiment")
    assert done.returncode == 0, done.stdout


def test_the_virtual_environment_is_kept(checkout: Path) -> None:
    assert "Installing" in make(checkout, "venv").stdout
    assert "Installing" not in make(checkout, "venv").stdout


def test_packages_that_cannot_be_installed(checkout: Path) -> None:
    done = make(checkout, "experiment", OFFLINE="yes")
    assert done.returncode == 2
    assert "pip could not install them." in done.stdout
    assert "Installing" in make(checkout, "venv").stdout


def test_a_virtual_environment_is_made_anew_where_its_folder_was_moved(checkout: Path) -> None:
    make(checkout, "venv")
    assert "Installing" in make(checkout.rename(checkout.with_name("moved")), "venv").stdout


def test_a_virtual_environment_is_made_anew_where_its_python_is_gone(checkout: Path) -> None:
    make(checkout, "venv")
    python = checkout / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/nowhere/python3.9")
    assert "Installing" in make(checkout, "venv").stdout
    assert "played" in make(checkout, "experiment").stdout


def test_the_newest_ansible_has_an_environment_of_its_own(checkout: Path) -> None:
    make(checkout, "venv")
    done = make(checkout, "test-newest")
    assert done.returncode == 0, done.stdout
    newest = checkout / "build" / "newest"
    wanted = (newest / "requirements.txt").read_text().splitlines()
    assert [line for line in wanted if line.startswith("ansible")] == ["ansible-core", "ansible", RUNNER]
    assert "-r requirements.txt" in (newest / "requirements-dev.txt").read_text()
    # The unit tests, and the others.
    assert done.stdout.count(f" in {newest}/bin:") == 2, done.stdout
    # Nothing brings back what requirements.txt says.
    assert done.stdout.count("Installing") == 1, done.stdout


def test_a_python_that_takes_no_newer_ansible_is_refused_in_one_sentence(checkout: Path) -> None:
    done = make(checkout, "test-newest", OLD="yes")
    assert done.returncode == 2
    assert "make test-newest PYTHON=python3.13" in done.stdout
    assert not (checkout / "build").exists()


def test_a_virtual_environment_that_is_a_link_is_left_alone(checkout: Path, tmp_path: Path) -> None:
    make(checkout, "venv")
    other = new_checkout(tmp_path / "other")
    (other / ".venv").symlink_to(checkout / ".venv")
    make(other, "venv")
    assert "Installing" not in make(checkout, "venv").stdout
