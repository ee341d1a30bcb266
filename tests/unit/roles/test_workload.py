# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The guest's workload program, compiled here and driven over a pseudo-terminal instead of the virtio-serial port."""

from __future__ import annotations

import os
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._guest.telemetry import (
    PAGE_BYTES,
    Sample,
    Times,
    Verified,
    Working,
    parse,
)

SOURCE = Path(__file__).resolve().parents[3] / "roles" / "guest_image" / "files" / "workload.c"
WINDOW_PAGES, IDLE_PAGES = 8 * 256, 3 * 256
NOBODY = 65534
MASK = (1 << 64) - 1

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    # Not in tmp_path, which other users may not enter.
    with tempfile.TemporaryDirectory() as directory:
        binary = Path(directory) / "workload"
        flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]
        subprocess.run(["cc", *flags, "-o", str(binary), str(SOURCE)], check=True)
        Path(directory).chmod(0o755)
        yield binary


class Workload:
    """The running program, and our end of its port."""

    def __init__(self, program: Path) -> None:
        self._port, self._other_end = os.openpty()
        tty.setraw(self._other_end)
        path = os.ttyname(self._other_end)
        user = None
        if os.geteuid() == 0:  # as root it would drop the machine's caches and take a real-time priority
            user = NOBODY
            os.chown(path, NOBODY, NOBODY)
        self.process = subprocess.Popen(["nice", "-n", "19", str(program), path], user=user)
        self._rest = b""
        self.lines: list[str] = []

    def send(self, command: str) -> None:
        os.write(self._port, command.encode() + b"\n")

    def wait_for(self, wanted: Callable[[str], bool], timeout_s: float = 30) -> str:
        """The next line for which ``wanted`` is true."""
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            if self.lines:
                line = self.lines.pop(0)
                if wanted(line):
                    return line
            elif select.select([self._port], [], [], left_s)[0]:
                *lines, self._rest = (self._rest + os.read(self._port, 65536)).split(b"\n")
                self.lines += [line.decode() for line in lines]
        raise AssertionError("the workload did not send the expected line")

    def sample(self) -> Sample:
        found = parse(self.wait_for(lambda line: line.startswith("sample ")), "source", time.monotonic())
        assert isinstance(found, Sample)
        return found

    def times(self) -> Times:
        found = parse(self.wait_for(lambda line: line.startswith("times ")), "source", time.monotonic())
        assert isinstance(found, Times)
        return found

    def verify(self) -> Verified:
        self.send("verify")
        found = parse(self.wait_for(lambda line: line.startswith("verified ")), "source", 0)
        assert isinstance(found, Verified)
        return found

    def hang_up(self) -> None:
        """Close the port, so that nobody listens any more."""
        os.close(self._port)
        self._port = -1

    def thread_cpu_s(self) -> dict[int, float]:
        """Processor time of each thread of the program; the first thread is the one that reports."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        fields = {int(task.name): (task / "stat").read_text().rpartition(")")[2].split() for task in tasks.iterdir()}
        return {task: (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK") for task, stat in fields.items()}

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self._port >= 0:
            os.close(self._port)
        os.close(self._other_end)


@pytest.fixture
def workload(program: Path) -> Iterator[Workload]:
    running = Workload(program)
    yield running
    running.close()


def expected_word(page: int, word: int) -> int:
    """splitmix64 of the word's position in the window, as in the program."""
    x = (page * PAGE_BYTES // 8 + word + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def find_window(pid: int) -> int:
    """Address of the window in the program's memory."""
    start = struct.pack("=3Q", *(expected_word(0, word) for word in (1, 2, 3)))
    with open(f"/proc/{pid}/mem", "rb") as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            first, last = (int(part, 16) for part in line.split()[0].split("-"))
            for address in range(first, last, PAGE_BYTES) if " rw-p " in line else ():
                memory.seek(address + 8)
                if memory.read(len(start)) == start:
                    return address
    raise AssertionError("the window is not in the program's memory")


def spoil(pid: int, offset: int) -> None:
    """Change a word of the program's window, or of what is behind it."""
    try:
        address = find_window(pid)
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(address + offset)
            memory.write(b"\x00\x01\x02\x03\x04\x05\x06\x07")
    except PermissionError:
        pytest.skip("this system does not allow writing to another process's memory")


@pytest.mark.parametrize("writes", [100, 30, 0])
@pytest.mark.parametrize("pattern", ["sequential", "random", "zipf"])
def test_the_window_is_walked_and_verifies(workload: Workload, pattern: str, writes: int) -> None:
    workload.send(f"start 8 {pattern} 512 {writes} 0")
    first = workload.sample()
    assert first.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert workload.verify() == Verified(WINDOW_PAGES, 0)
    later = workload.sample()
    while later.pages - first.pages < 2 * WINDOW_PAGES:
        later = workload.sample()
    assert later.guest_time_s > first.guest_time_s
    assert workload.verify() == Verified(WINDOW_PAGES, 0)
    assert workload.sample().pages >= later.pages


@pytest.mark.parametrize("pattern", ["sequential", "random", "zipf"])
def test_a_corrupted_page_is_noticed(workload: Workload, pattern: str) -> None:
    workload.send(f"start 8 {pattern} 512 50 0")
    workload.sample()
    spoil(workload.process.pid, 1000 * PAGE_BYTES + 4000)
    assert workload.verify() == Verified(WINDOW_PAGES, 1)


def test_idle_pages_all_differ_and_one_that_is_corrupted_is_noticed(workload: Workload) -> None:
    workload.send("start 8 random 512 50 3")
    workload.sample()
    assert workload.verify() == Verified(WINDOW_PAGES + IDLE_PAGES, 0)
    pid, size = workload.process.pid, IDLE_PAGES * PAGE_BYTES
    address = find_window(pid) + WINDOW_PAGES * PAGE_BYTES
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(address)
        idle = memory.read(size)
    pages = {idle[start : start + PAGE_BYTES] for start in range(0, size, PAGE_BYTES)}
    assert len(pages - {bytes(PAGE_BYTES)}) == IDLE_PAGES
    spoil(pid, (WINDOW_PAGES + IDLE_PAGES - 1) * PAGE_BYTES)
    assert workload.verify() == Verified(WINDOW_PAGES + IDLE_PAGES, 1)
    workload.send("start 8 random 512 50 0")
    assert workload.verify() == Verified(WINDOW_PAGES, 0)


def test_a_new_window_starts_over(workload: Workload) -> None:
    workload.send("start 8 sequential 512 100 0")
    before = workload.sample()
    while before.pages < 4 * WINDOW_PAGES:
        before = workload.sample()
    workload.send("start 1 sequential 512000 100 0")
    assert workload.verify() == Verified(256, 0)
    assert workload.sample().pages < before.pages


def write_counts(pid: int) -> list[int]:
    """How often each page of a window of 1 MB was written, as its first word counts; the program stands meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    address = find_window(pid)
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(address)
        window = memory.read(256 * PAGE_BYTES)
    os.kill(pid, signal.SIGCONT)
    return [int(struct.unpack_from("=Q", window, page * PAGE_BYTES)[0]) for page in range(256)]


def walk_sweeps(workload: Workload, sweeps: int) -> Sample:
    while (sample := workload.sample()).pages < sweeps * 256:
        pass
    return sample


@pytest.mark.parametrize("writes", [100, 25, 0])
def test_the_share_of_visits_that_write_is_the_one_asked_for(workload: Workload, writes: int) -> None:
    workload.send(f"start 1 random 0 {writes} 0")
    before = walk_sweeps(workload, 500)
    written = sum(write_counts(workload.process.pid))
    workload.verify()  # what was reported before that is not read as the next sample
    after = workload.sample()
    # Each page rounds for itself.
    assert before.pages * writes / 100 - 256 <= written <= after.pages * writes / 100 + 256
    assert (written == 0) == (writes == 0)


def test_zipf_visits_few_pages_often_and_every_page_sometimes(workload: Workload) -> None:
    workload.send("start 1 zipf 0 100 0")
    walk_sweeps(workload, 500)
    pages = 256 // min(64, os.sysconf("SC_NPROCESSORS_ONLN"))  # the first walker's slice
    counts = sorted(write_counts(workload.process.pid)[:pages], reverse=True)
    assert counts[-1] > 0
    # Groups of 1, 2, 4 ... ranks are drawn alike; of the last one, only the ranks that the slice has.
    sizes = [1 << group for group in range((pages - 1).bit_length() + 1)]
    drawn = sum(min(size, max(0, pages - size + 1)) / size for size in sizes)
    assert counts[0] / sum(counts) == pytest.approx(1 / drawn, rel=0.2)
    assert counts[0] == pytest.approx(2 * counts[1], rel=0.2)


def test_work_changes_while_the_window_is_walked(workload: Workload) -> None:
    workload.send("start 1 sequential 200000 100 0")
    slow = workload.sample(), workload.sample(), workload.sample()
    workload.send("work 512")
    assert parse(workload.wait_for(lambda line: line.startswith("working ")), "source", 0) == Working(512)
    slow_rate = (slow[-1].pages - slow[0].pages) / (slow[-1].guest_time_s - slow[0].guest_time_s)
    # A visit of the old work may still be under way, for long on a busy machine.
    last, deadline = workload.sample(), time.monotonic() + 20
    while time.monotonic() < deadline:
        before, last = last, workload.sample()
        if last.pages - before.pages > 3 * slow_rate * (last.guest_time_s - before.guest_time_s):
            break
    else:
        pytest.fail(f"no faster than {slow_rate:.0f} pages a second")
    assert workload.verify() == Verified(256, 0)


def test_an_invalid_command_is_answered_with_an_error(workload: Workload) -> None:
    for command in (
        "verify",
        "dance",
        "work 1",
        "start eight sequential 512 100 0",
        "start 8 backwards 512 100 0",
        "start 8 random 512 101 0",
        "start 8 random 512 100",
        "start 0 random 512 100 8",
    ):
        workload.send(command)
        assert workload.wait_for(lambda line: not line.startswith("ready ")).startswith("error ")
    workload.send("start 8 sequential 512 100 0")
    assert workload.verify() == Verified(WINDOW_PAGES, 0)


def test_reporting_costs_no_processor_time_if_nobody_listens(workload: Workload) -> None:
    workload.send("start 8 sequential 512 100 0")
    workload.sample()
    workload.hang_up()
    before_s = workload.thread_cpu_s()
    time.sleep(1)
    used_s = {task: now_s - before_s[task] for task, now_s in workload.thread_cpu_s().items()}
    # At its real-time priority, a busy reporter would starve the guest's walkers and its kernel's own work.
    assert used_s.pop(workload.process.pid) < 0.25 * max(used_s.values())


def test_every_visit_is_timed_once(workload: Workload) -> None:
    workload.send("start 8 sequential 5120 100 0")
    sample, times = workload.sample(), workload.times()
    # The last visit of the sample may still be under way, and the times are a moment younger.
    assert sample.pages - 1 <= sum(times.counts.values()) <= sample.pages + 1000
    assert times.longest_ms * 1e6 < 2 ** (max(times.counts) + 1)


def test_the_longest_visit_is_told_once(workload: Workload) -> None:
    workload.send("start 8 sequential 512 100 0")
    workload.times()
    workload.process.send_signal(signal.SIGSTOP)
    time.sleep(0.7)
    workload.process.send_signal(signal.SIGCONT)
    longest_ms = [workload.times().longest_ms for _report in range(5)]
    assert max(longest_ms) >= 600
    assert longest_ms[-1] < 600
    # A walker that waits for the memory check visits nothing.
    before = workload.times().counts
    workload.verify()
    assert max(workload.times().counts) <= max(before)
