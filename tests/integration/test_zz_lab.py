# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lab itself: locks, mending, teardown. Named to run last, since teardown ends what the other tests use."""

from __future__ import annotations

import glob
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import BIN, LAB_RUN, LAB_STATE, ROOT, changes, environment, on, playbook, ssh, wait_until


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


def known_link() -> dict[str, Any]:
    known: dict[str, Any] = json.loads((LAB_RUN / "link.json").read_text())
    return {**known["link"], **known["proof"]}


def mended(*arguments: str) -> int:
    """Number of changes when the lab is mended."""
    done = playbook("playbooks/lab.yml", "-v", *arguments)
    assert done.returncode == 0, done.stdout
    return changes(done.stdout)["localhost"]


def test_the_link_is_proved_and_changed_in_place(lab: Path) -> None:
    wire, other = (LAB_RUN / "wire").read_text(), ["-e", "local_lab_rate_mbit=100", "-e", "local_lab_queue=fifo"]
    assert mended(*other) == 1
    link = known_link()
    assert (link["rate_mbit"], link["queue"]) == (100, "fifo")
    assert 95 <= link["bulk_mbit_per_s"] <= 100
    assert "pfifo" in on("source", "tc", "qdisc", "show", "dev", "mig0")
    assert mended(*other) == 0
    assert mended() == 1
    assert (LAB_RUN / "wire").read_text() == wire


def test_a_link_whose_wire_has_ended_is_mended(lab: Path) -> None:
    os.kill(int((LAB_RUN / "wire").read_text().split()[0]), signal.SIGKILL)
    assert mended() == 1
    assert known_link()["page_us"] > 200


@pytest.mark.long
@pytest.mark.parametrize(("rate_mbit", "delay_us"), [(10, 40_000), (100, 5000), (10_000, 20)])
def test_links_from_between_sites_to_inside_a_rack(lab: Path, rate_mbit: int, delay_us: int) -> None:
    settings = ["-e", f"local_lab_rate_mbit={rate_mbit}", "-e", f"local_lab_delay_us={delay_us}"]
    try:
        done = playbook("playbooks/lab.yml", "-v", *settings)
        if done.returncode:  # a slow machine cannot be a fast link, but it can say so
            assert rate_mbit > 1000, done.stdout
            assert re.search(r"10000 Mbit/s and 20 us: a stream reaches \d+ of 10000 Mbit/s. Try again", done.stdout)
        else:
            assert changes(done.stdout)["localhost"] == 1
            print(known_link())
    finally:
        assert mended() == 1


# Answers each request of 16 bytes for a page, or for a stream that does not end, on connections of their own.
SERVER = """
import os, signal, socket, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.create_server((sys.argv[1], 4444))
print("listening", flush=True)
while True:
    connection = listener.accept()[0]
    if os.fork():
        continue
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while request := connection.recv(16):
            connection.sendall(bytes(4104))
            while request[0]:
                connection.sendall(bytes(1 << 18))
    except ConnectionError:
        os._exit(0)
"""
# Prints the median time of a page, in us, while a stream comes from the same host.
CLIENT = """
import os, socket, statistics, sys, time
if not os.fork():
    stream = socket.create_connection((sys.argv[1], 4444))
    stream.send(bytes([1] * 16))
    end = time.monotonic() + 4
    while time.monotonic() < end:
        stream.recv(1 << 20)
    os._exit(0)
time.sleep(1)
pages, times_us = socket.create_connection((sys.argv[1], 4444)), []
end = time.monotonic() + 2
while time.monotonic() < end:
    begin, left = time.monotonic(), 4104
    pages.send(bytes(16))
    while left:
        left -= len(pages.recv(left))
    times_us.append((time.monotonic() - begin) * 1e6)
os.wait()
print(statistics.median(times_us))
"""


def page_beside_a_stream_us() -> float:
    address = "198.18.1.11"
    server = subprocess.Popen(ssh("source", f"timeout 60 python3 -c '{SERVER}' {address}"), stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"listening\n"
        return float(on("destination", f"python3 -c '{CLIENT}' {address}"))
    finally:
        on("source", "pkill -f 4444", check=False)
        server.wait()


@pytest.mark.long
def test_a_page_waits_for_a_stream_in_a_fifo_alone(lab: Path) -> None:
    fair_us = page_beside_a_stream_us()
    try:
        assert mended("-e", "local_lab_queue=fifo") == 1
        fifo_us = page_beside_a_stream_us()
    finally:
        assert mended() == 1
    print(f"a page beside a stream takes {fair_us:.0f} us with a fair queue, {fifo_us:.0f} us with a FIFO")
    assert fifo_us > 2 * fair_us


@pytest.mark.long
def test_a_link_that_no_machine_can_be_is_refused(lab: Path) -> None:
    try:
        done = playbook("playbooks/lab.yml", "-e", "local_lab_rate_mbit=1000000")
        assert done.returncode == 2
        assert "cannot be a link of 1000000 Mbit/s and 100 us: a stream reaches" in done.stdout, done.stdout
    finally:
        assert mended() == 1


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
    assert glob.glob("/sys/fs/cgroup/**/vcsp/", recursive=True) == []
    mounts = Path("/proc/self/mounts").read_text()
    assert "vcsp" not in mounts
    assert subprocess.run(["pgrep", "-f", "vcsp-lab"], stdout=subprocess.PIPE, text=True).stdout == ""
    again = playbook("playbooks/teardown.yml", "-v")
    assert set(changes(again.stdout).values()) == {0}, again.stdout
    assert lab.exists(), "results stay"
