# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The progress callback, and the guard that undoes an interrupted trial."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[4]
# A command line that no other process has.
NAP = f"sleep 60.{os.getpid()}"
# Any playbook of the collection brings the guard with it.
GUARDED = {"import_playbook": "vcsp.testbed.report"}
TRIAL = {
    "id": "r01-0008mb-sequential-vcsp",
    "index": 1,
    "total": 1,
    "repeat": 1,
    "workload": {
        "window_mb": 8,
        "pattern": "sequential",
        "rate_mb_per_s": None,
        "work_per_page": 4,
        "writes_percent": 100,
    },
    "method": {
        "name": "vcsp",
        "vcpu_quota_percent": 50,
        "vcpu_period_us": 10000,
        "prefetch_pages": 1,
        "transfer": "demand",
    },
    "guest": {"memory_mb": 512, "vcpus": 1, "thp": "madvise"},
    "link": {"rate_mbit": 1000},
    "baseline_s": 1,
    "observation_s": 3,
}


def interruptible(playbooks: Any, directory: Path) -> list[str]:
    """Return the command of an experiment whose trial says that it has begun and does not end."""
    tasks = directory / "roles" / "endless" / "tasks"
    tasks.mkdir(parents=True)
    (tasks / "main.yml").write_text(
        "- name: Migrate\n"
        f"  ansible.builtin.shell: touch begun && {NAP}\n"
        "  args: {chdir: '{{ directory }}'}\n"
        "  changed_when: true\n"
    )
    (directory / "cleanup.yml").write_text(
        "- name: Clean up\n"
        "  hosts: localhost\n"
        "  tasks:\n"
        "    - name: Take a while\n"
        "      ansible.builtin.command: sleep 1\n"
        "      changed_when: true\n"
        "    - name: Leave a trace\n"
        "      ansible.builtin.copy: {content: '{{ scenario }}', dest: '{{ directory }}/cleaned', mode: '0644'}\n"
    )
    playbooks.environment["VCSP_TESTBED_CLEANUP_PLAYBOOK"] = str(directory / "cleanup.yml")
    begin = {
        "vcsp.testbed.experiment": {
            "results_dir": str(directory / "results"),
            "experiment_id": "mine",
            "scenario": {"name": "x", "repeats": 1, "workloads": [{"window_mb": 8}], "methods": ["vcsp"]},
            "lock_path": str(directory / "lock"),
        },
        "register": "experiment",
    }
    run = {
        "ansible.builtin.include_role": {"name": "endless"},
        "loop": "{{ experiment.pending }}",
        "loop_control": {"loop_var": "trial_item", "label": "{{ trial_item.id }}"},
    }
    plays = [
        {"name": "Wait", "hosts": "localhost", "tasks": [{"ansible.builtin.command": "true", "changed_when": False}]},
        {"name": "Run", "hosts": "localhost", "tasks": [begin, run]},
        GUARDED,
    ]
    arguments = ["-e", "scenario=x", "-e", f"directory={directory}", "--ssh-common-args=-oProxyJump=gate"]
    command: list[str] = playbooks.command(plays, *arguments)
    # Tests that run under nohup would hand down that hang-ups are ignored.
    return ["env", "--default-signal=HUP", *command]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("signum", "impatient", "callbacks"),
    [
        (signal.SIGINT, False, "ansible.posix.profile_tasks"),
        (signal.SIGINT, True, "vcsp.testbed.guard"),
        (signal.SIGTERM, True, "ansible.posix.timer"),
        (signal.SIGHUP, False, "ansible.posix.timer"),
    ],
    ids=["Ctrl-C with the user's callbacks", "impatient Ctrl-C with two guards", "SIGTERM", "SIGHUP"],
)
def test_interrupted_trial_is_cleaned_up(
    playbooks: Any, tmp_path: Path, signum: signal.Signals, impatient: bool, callbacks: str
) -> None:
    playbooks.environment["ANSIBLE_CALLBACKS_ENABLED"] = callbacks
    with subprocess.Popen(
        interruptible(playbooks, tmp_path),
        cwd=tmp_path,
        env=playbooks.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        wait_for(tmp_path / "begun")
        os.killpg(process.pid, signum)
        for _again in range(3 if impatient else 0):
            time.sleep(0.4)
            if process.poll() is None:
                os.killpg(process.pid, signum)
        output, _nothing = process.communicate(timeout=60)
    assert process.returncode == 99, output
    assert (tmp_path / "cleaned").read_text() == "x", output
    assert output.count("interrupted: cleaning up the running trial (r01-0008mb-sequential-vcsp) ...") == 1, output
    assert re.search(
        rf"^resume with: cd {tmp_path} && .* playbook\.yml .*-e experiment_id=mine$", output, re.MULTILINE
    ), output
    # What the trial had started is gone, and the experiment can be resumed.
    assert NAP not in processes()
    run = playbooks.run([{"vcsp.testbed.lock": {"purpose": "next", "path": str(tmp_path / "lock")}}])
    assert run.returncode == 0, run.stdout


def test_the_trials_of_all_pairs_are_cleaned_up(playbooks: Any, tmp_path: Path) -> None:
    command = interruptible(playbooks, tmp_path)
    hosts = "".join(f"{host} ansible_connection=local\n" for host in ("localhost", "left", "right"))
    (tmp_path / "inventory").write_text(hosts)
    first, run, guarded = yaml.safe_load((tmp_path / "playbook.yml").read_text())
    begin, loop = run["tasks"]
    begin["vcsp.testbed.experiment"]["scenario"]["repeats"] = 2
    begin["vcsp.testbed.experiment"]["pairs"] = {"left": {}, "right": {}}
    share = "{{ hostvars['localhost'].experiment.pending | selectattr('pair', 'equalto', inventory_hostname) }}"
    side_by_side = {
        "name": "Run",
        "hosts": "left:right",
        "strategy": "ansible.builtin.host_pinned",
        "tasks": [{**loop, "loop": share}],
    }
    plays = [first, {**run, "tasks": [begin]}, side_by_side, guarded]
    (tmp_path / "playbook.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
    with subprocess.Popen(
        command, cwd=tmp_path, env=playbooks.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        deadline = time.monotonic() + 30
        while processes().count(NAP) < 2:
            assert time.monotonic() < deadline, "the trials did not begin"
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        output, _nothing = process.communicate(timeout=60)
    trials = ", ".join(f"r0{repeat}-0008mb-sequential-vcsp" for repeat in (1, 2))
    assert f"interrupted: cleaning up the running trial ({trials}) ..." in output
    assert (tmp_path / "cleaned").exists()


def processes() -> list[str]:
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()


def test_interrupted_on_a_terminal_that_goes_away(playbooks: Any, tmp_path: Path) -> None:
    command = interruptible(playbooks, tmp_path)
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=playbooks.environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    ) as process:
        os.close(terminal)
        wait_for(tmp_path / "begun")
        os.close(controller)
        process.send_signal(signal.SIGHUP)
        process.wait(timeout=60)
    assert (tmp_path / "cleaned").exists()


def test_a_failed_cleanup_can_be_run_as_printed(playbooks: Any, tmp_path: Path) -> None:
    command = interruptible(playbooks, tmp_path)
    cleanup = (tmp_path / "cleanup.yml").read_text()
    (tmp_path / "cleanup.yml").write_text("nonsense\n")
    with subprocess.Popen(
        command, cwd=tmp_path, env=playbooks.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        wait_for(tmp_path / "begun")
        process.send_signal(signal.SIGINT)
        output, _nothing = process.communicate(timeout=60)
    printed = re.search(r"the cleanup failed \(exit status \d+\); run it by hand: (.*)", output)
    assert printed, output
    assert not (tmp_path / "cleaned").exists()
    (tmp_path / "cleanup.yml").write_text(cleanup)
    subprocess.run(["sh", "-c", printed[1]], cwd="/", check=True)
    assert (tmp_path / "cleaned").read_text() == "x"


def test_the_cleanup_gets_the_passwords_that_were_typed_in(playbooks: Any, tmp_path: Path) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text(
        '#!/bin/sh\nwhile [ "$1" != -u ]; do [ "$1" = -p ] && prompt=$2; shift; done\nshift 2\n'
        f'printf %s "$prompt"\nread -r typed\necho "$typed" >>{tmp_path}/typed\nexec "$@"\n'
    )
    sudo.chmod(0o755)
    playbooks.environment["ANSIBLE_BECOME_ALLOW_SAME_USER"] = "true"  # as root, too
    command = [*interruptible(playbooks, tmp_path), "--ask-become-pass", "--ask-vault-pass", "-e", "@secret.yml"]
    (tmp_path / "password").write_text("of the vault")
    (tmp_path / "secret.yml").write_text(f"scenario: kept secret\nansible_become_exe: {sudo}\n")
    encrypt = ["vault", "encrypt", "--vault-password-file", "password", "secret.yml"]
    subprocess.run([sys.executable, "-m", "ansible", *encrypt], cwd=tmp_path, env=playbooks.environment, check=True)
    cleanup = (tmp_path / "cleanup.yml").read_text()
    (tmp_path / "cleanup.yml").write_text(cleanup.replace("  tasks:", "  become: true\n  tasks:"))
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=playbooks.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # without a terminal, getpass reads the standard input
    ) as process:
        assert process.stdin
        process.stdin.write("of sudo\nof the vault\n")
        process.stdin.flush()
        wait_for(tmp_path / "begun")
        process.send_signal(signal.SIGINT)
        output, _nothing = process.communicate(timeout=60)
    assert (tmp_path / "cleaned").exists(), output
    assert (tmp_path / "cleaned").read_text() == "kept secret"
    assert set((tmp_path / "typed").read_text().splitlines()) == {"of sudo"}


@pytest.mark.parametrize(
    "playbook",
    [ROOT / "experiment.yml", ROOT / "playbooks" / "run.yml", "vcsp.testbed.experiment"],
    ids=["front door", "playbook", "collection"],
)
def test_every_way_to_start_an_experiment_is_guarded(playbooks: Any, tmp_path: Path, playbook: Path | str) -> None:
    settings = {"ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.timer", "ANSIBLE_STDOUT_CALLBACK": "default"}
    playbooks.environment |= {"ANSIBLE_CONFIG": "/nowhere", "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections")}
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-vvvv", str(playbook)]
    done = subprocess.run(
        command, cwd=tmp_path, env={**playbooks.environment, **settings}, capture_output=True, text=True
    )
    assert "This inventory is no testbed" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("Loading callback plugin vcsp.testbed.guard ") == 1, done.stdout


def test_nothing_to_clean_up_outside_a_trial(playbooks: Any, tmp_path: Path) -> None:
    command = interruptible(playbooks, tmp_path)
    (tmp_path / "playbook.yml").write_text(
        yaml.safe_dump(
            [{"hosts": "localhost", "tasks": [{"ansible.builtin.shell": "touch begun && sleep 60"}]}, GUARDED]
        )
    )
    with subprocess.Popen(
        command, cwd=tmp_path, env=playbooks.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        wait_for(tmp_path / "begun")
        process.send_signal(signal.SIGTERM)
        output, _nothing = process.communicate(timeout=60)
    assert process.returncode == 99
    assert not (tmp_path / "cleaned").exists()
    assert "resume" not in output


def test_quiet_but_for_what_matters(playbooks: Any) -> None:
    tasks = [
        {"name": "Ordinary", "ansible.builtin.command": "echo secret", "changed_when": True},
        {"name": "Skipped", "ansible.builtin.command": "false", "when": False},
        {"name": "Told", "ansible.builtin.debug": {"msg": "first line\nsecond line"}},
        {"name": "Told thrice", "ansible.builtin.debug": {"msg": "number {{ item }}"}, "loop": [1, 2, 3]},
        {"name": "Fails", "ansible.builtin.fail": {"msg": "it is broken\n" + "x" * 3000}},
    ]
    run = playbooks.run(tasks)
    assert run.returncode == 2
    for shown in (
        "Test\n",
        "first line\nsecond line\n",
        "number 1\nnumber 2\nnumber 3\n",
        "TASK [Fails]",
        "it is broken",
    ):
        assert shown in run.stdout
    for hidden in ("Ordinary", "Skipped", "Told", "secret", "Gathering", "x" * 3000):
        assert hidden not in run.stdout
    assert "all of them with -v" in run.stdout
    assert "playbook.yml:" in run.stdout  # the place of the failed task
    assert "failed=1" in run.stdout
    assert "PLAY RECAP" not in playbooks.run(tasks[:1]).stdout


def test_verbose_is_the_usual_output(playbooks: Any) -> None:
    run = playbooks.run([{"name": "Ordinary", "ansible.builtin.command": "echo told", "changed_when": True}], "-v")
    for shown in ("PLAY [Test]", "TASK [Ordinary]", "changed: [localhost]", "told", "PLAY RECAP"):
        assert shown in run.stdout


def test_long_task_is_named(playbooks: Any) -> None:
    began_s = time.monotonic()
    run = playbooks.run([{"name": "Build the image", "ansible.builtin.command": "sleep 5.2", "changed_when": True}])
    took_s = time.monotonic() - began_s  # of which a busy machine adds to the task's own 5.2 s
    told = re.search(r"^  Build the image  (\d+) s$", run.stdout, re.MULTILINE)
    assert told, run.stdout
    assert 5 <= int(told[1]) <= took_s


def test_no_block_characters_where_they_cannot_be_shown(playbooks: Any, tmp_path: Path) -> None:
    playbooks.environment["PYTHONIOENCODING"] = "ascii"
    arguments = {"experiment_dir": str(tmp_path / "x"), "experiment_id": "x", "trial": TRIAL, "failure": "broken"}
    run = playbooks.run([{"vcsp.testbed.record": arguments}])
    assert run.returncode == 0, run.stdout
    assert "[1/1] vcsp     8 MB sequential  FAILED         -  ############## 100%" in run.stdout
    assert run.stdout.isascii()


def test_live_line_on_a_terminal(playbooks: Any, tmp_path: Path) -> None:
    command = playbooks.command(
        [{"name": "Test", "hosts": "localhost", "tasks": [{"name": "Nap", "ansible.builtin.command": "sleep 2.5"}]}]
    )
    controller, terminal = pty.openpty()
    environment = {**playbooks.environment, "TERM": "xterm"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        while True:
            try:
                shown += os.read(controller, 4096)
            except OSError:  # what a terminal without processes gives
                break
        process.wait(timeout=60)
    os.close(controller)
    assert process.returncode == 0
    assert b"  Nap  1 s" in shown
    # Drawn over with blanks, and nothing of it stays.
    assert shown.decode().rstrip("\r\n").split("\r")[-1].strip() == ""
