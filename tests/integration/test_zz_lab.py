# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lab itself: locks, mending, teardown. Named to run last, since teardown ends what the other tests use."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from .conftest import BIN, LAB_RUN, LAB_STATE, ROOT, changes, environment, on, playbook, wait_until


def machine_network() -> str:
    """The machine's own links, addresses and namespaces."""
    commands = (["ip", "-o", "link"], ["ip", "-o", "-4", "address"], ["ip", "netns"])
    texts = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in commands]
    return "\n".join(sorted(line.split("\\")[0] for text in texts for line in text.splitlines() if "vcsp" in line))


def test_another_checkout_is_refused(lab: Path, tmp_path: Path) -> None:
    done = playbook("playbooks/lab.yml", "-e", f"local_lab_owner={tmp_path}")
    assert done.returncode == 2
    assert str(ROOT) in done.stdout and "make teardown" in done.stdout, done.stdout


def test_a_running_experiment_keeps_others_out(lab: Path, tmp_path: Path) -> None:
    book = tmp_path / "hold.yml"
    book.write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
        "    - vcsp.testbed.lock: {purpose: a long experiment}\n"
        "    - ansible.builtin.command: {argv: [sleep, '600']}\n"
    )
    holder = subprocess.Popen(
        [BIN / "ansible-playbook", book], cwd=ROOT, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    lock = Path("/run/lock/vcsp-testbed.lock")
    try:
        wait_until(lambda: lock.exists() and str(holder.pid) in lock.read_text(), 60, "the lock")
        refused = playbook("playbooks/teardown.yml")
        assert refused.returncode == 2
        assert "a long experiment" in refused.stdout and str(holder.pid) in refused.stdout, refused.stdout
        assert on("source", "true") == ""
    finally:
        os.killpg(holder.pid, signal.SIGTERM)
        holder.wait()


def test_a_lab_whose_processes_are_gone_is_mended(lab: Path) -> None:
    os.kill(int((LAB_RUN / "source" / "init").read_text().split()[0]), signal.SIGKILL)
    done = playbook("playbooks/lab.yml", "-v")
    assert done.returncode == 0, done.stdout
    assert changes(done.stdout)["localhost"] == 1
    assert on("source", "virsh", "uri").strip() == "qemu:///system"
    again = playbook("playbooks/lab.yml", "-v")
    assert set(changes(again.stdout).values()) == {0}, again.stdout


def test_a_host_that_booted_from_other_files_is_restarted(lab: Path) -> None:
    """As after an interruption between the writing of the files and the restart."""
    hosts = [LAB_RUN / name / "init" for name in ("source", "destination")]
    source, destination = (path.read_text() for path in hosts)
    (LAB_RUN / "source" / "configuration").write_text("another")
    done = playbook("playbooks/lab.yml", "-v")
    assert done.returncode == 0, done.stdout
    assert changes(done.stdout)["localhost"] == 1
    assert hosts[0].read_text() != source
    assert hosts[1].read_text() == destination
    assert on("source", "virsh", "uri").strip() == "qemu:///system"
    again = playbook("playbooks/lab.yml", "-v")
    assert set(changes(again.stdout).values()) == {0}, again.stdout


def test_teardown_leaves_nothing(lab: Path) -> None:
    foreign = "vcsp-not-ours"
    subprocess.run(["ip", "netns", "add", foreign], check=True)
    try:
        done = playbook("playbooks/teardown.yml", "-v")
        assert done.returncode == 0, done.stdout
        assert machine_network().split() == [foreign], "only the namespace that the lab did not make is left"
    finally:
        subprocess.run(["ip", "netns", "delete", foreign], check=True)
    assert not LAB_RUN.exists()
    assert not LAB_STATE.exists()
    assert not [path for path in Path("/sys/fs/cgroup").rglob("vcsp") if path.is_dir()]
    mounts = Path("/proc/self/mounts").read_text()
    assert "vcsp" not in mounts
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [command for command in commands if b"vcsp-lab" in command]
    again = playbook("playbooks/teardown.yml", "-v")
    assert set(changes(again.stdout).values()) == {0}, again.stdout
    assert lab.exists(), "results stay"
