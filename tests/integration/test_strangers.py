# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A newcomer's machine: a minimal Debian with a fresh clone, in a folder with a space."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from .conftest import ROOT
from .minimal_debian import MinimalDebian

CHECKOUT = "/srv/vcsp testbed"
EXPERIMENT = f"cd '{CHECKOUT}' && make experiment SCENARIO=smoke"
# A shell set up for other playbooks; none of it is right for these.
SHELL = {
    "ANSIBLE_BECOME": "True",
    "ANSIBLE_BECOME_USER": "nobody",
    "ANSIBLE_CALLBACKS_ENABLED": "nonsense",
    "ANSIBLE_COLLECTIONS_PATH": "/nowhere",
    "ANSIBLE_CONFIG": "/nowhere/ansible.cfg",
    "ANSIBLE_GATHERING": "smart",
    "ANSIBLE_INVENTORY": "/nowhere/hosts",
    "ANSIBLE_PYTHON_INTERPRETER": "/nowhere/python",
    "ANSIBLE_REMOTE_USER": "nobody",
    "ANSIBLE_ROLES_PATH": "/nowhere",
    "ANSIBLE_STDOUT_CALLBACK": "nonsense",
    "ANSIBLE_STRATEGY": "free",
}


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinimalDebian]:
    machine = MinimalDebian(tmp_path_factory.mktemp("debian") / "root")
    machine.root.mkdir()
    machine.root.parent.chmod(0o755)
    try:
        machine.build()
        subprocess.run(["git", "clone", "--quiet", ROOT, machine.root / CHECKOUT.lstrip("/")], check=True)
        done = machine.run(f"cd '{CHECKOUT}' && make venv")
        assert done.returncode == 0, done.stdout
        yield machine
    finally:
        machine.remove()


def packages(debian: MinimalDebian) -> str:
    return (debian.root / "var/lib/dpkg/status").read_text()


def words(output: str) -> str:
    """A message as it was before YAML broke its lines and doubled its quotes."""
    return " ".join(output.split()).replace("''", "'")


def test_check_mode_predicts_the_lab_of_a_minimal_debian(debian: MinimalDebian) -> None:
    before = packages(debian)
    done = debian.run(EXPERIMENT, ARGS="-e @/lab.yml --check", **SHELL)
    assert done.returncode == 0, done.stdout
    assert "Would make the lab" in done.stdout, done.stdout
    assert "Skipped in check mode: all that needs the lab" in words(done.stdout), done.stdout
    assert packages(debian) == before
    assert not (debian.root / "var/lib/vcsp-lab").exists()
    assert not (debian.root / CHECKOUT.lstrip("/") / "results").exists()


def test_the_doctor_says_what_a_minimal_debian_lacks(debian: MinimalDebian) -> None:
    before = packages(debian)
    done = debian.run(f"cd '{CHECKOUT}' && make doctor", **SHELL)
    assert done.returncode == 0, done.stdout
    assert "Nothing would stop the experiment" in done.stdout, done.stdout
    for package in ("qemu-system-x86", "openssh-server", "mmdebstrap"):
        assert package in done.stdout, done.stdout
    assert packages(debian) == before
    assert not list((debian.root / "var/lib/apt/lists").glob("*_InRelease"))


def test_the_doctor_names_all_that_would_stop_an_experiment(debian: MinimalDebian) -> None:
    script = f"cd '{CHECKOUT}' && make doctor ARGS='-e local_lab_state_dir=/etc/ssl -e results_dir=/etc/passwd'"
    done = debian.run(script, http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9")
    assert done.returncode != 0, done.stdout
    for finding in ("- state_dir: '/etc/ssl' holds something", "/etc/passwd is not a directory", "127.0.0.1:9"):
        assert finding in words(done.stdout), done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (f'setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin sh -c "{EXPERIMENT}"', "start it privileged"),
        (f'unshare --user --map-root-user sh -c "{EXPERIMENT}"', "start it privileged"),
        (f"umount --recursive --lazy /sys/fs/cgroup && {EXPERIMENT}", "start it privileged"),
        (f"mount --bind /srv /srv && mount -o remount,bind,ro /srv && {EXPERIMENT}", "give another results_dir"),
        (f"export PATH=/usr/bin:/bin && cd '{CHECKOUT}' && .venv/bin/ansible-playbook experiment.yml", "PATH lacks"),
    ],
    ids=["container", "user-namespace", "no-cgroups", "read-only", "plain-su"],
)
def test_what_cannot_work_is_refused_in_one_sentence(debian: MinimalDebian, script: str, sentence: str) -> None:
    before = packages(debian)
    done = debian.run(script)
    assert done.returncode != 0, done.stdout
    assert sentence in words(done.stdout), done.stdout
    assert "Traceback" not in done.stdout
    assert packages(debian) == before


def test_a_user_who_is_not_root_is_told_to_use_sudo(debian: MinimalDebian) -> None:
    assert debian.run("id newcomer || useradd --create-home newcomer").returncode == 0
    done = debian.run(f'setpriv --reuid=newcomer --regid=newcomer --clear-groups sh -c "{EXPERIMENT}"', HOME="/tmp")
    assert done.returncode != 0
    assert "run 'sudo make experiment'" in words(done.stdout), done.stdout
    assert "Traceback" not in done.stdout
    doctor = EXPERIMENT.replace("experiment SCENARIO=smoke", "doctor ARGS='-e results_dir=/tmp'").replace("'", '"')
    done = debian.run(f"setpriv --reuid=newcomer --regid=newcomer --clear-groups sh -c '{doctor}'", HOME="/tmp")
    assert done.stdout.count("        - ") == 1, done.stdout
    assert "- The embedded lab needs root" in done.stdout, done.stdout


@pytest.mark.long
def test_a_minimal_debian_ends_with_table_3(debian: MinimalDebian) -> None:
    done = debian.run(f"{EXPERIMENT} && make teardown", **SHELL)
    assert done.returncode == 0, done.stdout
    assert "Table 3" in done.stdout, done.stdout
    assert len(list((debian.root / CHECKOUT.lstrip("/") / "results").glob("smoke-*/report/table3.md"))) == 1
    assert not (debian.root / "var/lib/vcsp-lab").exists()
