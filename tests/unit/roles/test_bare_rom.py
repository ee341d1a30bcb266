# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The bare guest's ROM as it is built, and the walk that it shares with the other guest. tests/integration boots it."""

from __future__ import annotations

import collections
import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[3] / "roles/guest_image/files"
ROM_BYTES = 64 << 10
SEQUENTIAL, RANDOM, ZIPF = range(3)

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")


def build(target: Path) -> bytes:
    done = subprocess.run(["sh", SOURCES / "bare/build.sh", target], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=target, check=True)
    assert {path.name for path in target.iterdir()} == {"bare.rom", "SHA256SUMS"}
    return (target / "bare.rom").read_bytes()


def test_the_rom_is_the_same_wherever_and_whenever_it_is_built(tmp_path: Path) -> None:
    first = build(tmp_path / "a")
    assert len(first) == ROM_BYTES
    assert first[-16:-11] == bytes.fromhex("ea000000ff")  # at the reset vector, a jump to 0xff00:0
    copy = tmp_path / "elsewhere"
    shutil.copytree(SOURCES, copy)
    subprocess.run(["sh", "bare/build.sh", tmp_path / "b"], cwd=copy, check=True)
    assert (tmp_path / "b/bare.rom").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir() if "." in path.name] == []


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that prints some sweeps of each slice, as page and whether it is written.

    Arguments: pages of the window, slices, number of the pattern, percent that write, sweeps. A last line counts the
    pages for which writes_of() counts other than is_write().
    """
    directory = tmp_path_factory.mktemp("walk")
    (directory / "walk.c").write_text("""
        #include <stdio.h>
        #include <stdlib.h>
        #include "walk.h"
        int main(int argc, char **argv)
        {
            const int sweeps = atoi(argv[5]);
            int wrong = 0;
            for (int i = 0; i < atoi(argv[2]); i++) {
                const struct slice s = make_slice(atoi(argv[1]), i, atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
                uint32_t *const writes = calloc(s.pages, sizeof *writes);
                for (int sweep = 0; sweep < sweeps; sweep++)
                    for (uint32_t step = 0; step < s.pages; step++) {
                        const uint32_t at = page_at(&s, sweep, step);
                        const int writing = is_write(&s, sweep, step, at);
                        writes[at] += writing;
                        printf("%u %d ", s.first_page + at, writing);
                    }
                for (uint32_t at = 0; at < s.pages; at++)
                    wrong += writes[at] != writes_of(&s, at, sweeps);
                printf("\\n");
            }
            printf("%d\\n", wrong);
            return argc != 6;
        }""")
    command = ["gcc", "-Wall", "-Wextra", "-Werror", "-I", SOURCES, "-o", directory / "walk", directory / "walk.c"]
    subprocess.run(command, check=True)
    return directory / "walk"


def walked(
    walk: Path, pages: int, slices: int, pattern: int, percent: int = 100, sweeps: int = 1
) -> tuple[list[list[tuple[int, bool]]], int]:
    """The visits of each slice, as page and whether it is written, and the number of pages that were counted wrong."""
    command = [walk, *map(str, (pages, slices, pattern, percent, sweeps))]
    *lines, wrong = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    numbers = [[int(word) for word in line.split()] for line in lines]
    return [list(zip(line[::2], map(bool, line[1::2]), strict=True)) for line in numbers], int(wrong)


@pytest.mark.parametrize("pages", [256, 2048, 3584, 12800])
@pytest.mark.parametrize("slices", [1, 2, 3, 16])
@pytest.mark.parametrize("pattern", [SEQUENTIAL, RANDOM])
def test_a_sweep_visits_every_page_once(walk: Path, pages: int, slices: int, pattern: int) -> None:
    visits, wrong = walked(walk, pages, slices, pattern)
    sweeps = [[page for page, _written in sweep] for sweep in visits]
    assert wrong == 0
    assert sorted(itertools.chain(*sweeps)) == list(range(pages))
    assert len(sweeps) == slices
    assert max(map(len, sweeps)) - min(map(len, sweeps)) <= 1
    in_order = [sweep == sorted(sweep) for sweep in sweeps]
    assert in_order == [pattern == SEQUENTIAL] * slices


@pytest.mark.parametrize("pattern", [SEQUENTIAL, RANDOM, ZIPF])
@pytest.mark.parametrize("percent", [0, 30, 100])
def test_as_many_visits_write_as_asked_for(walk: Path, pattern: int, percent: int) -> None:
    (visits,), wrong = walked(walk, 300, 1, pattern, percent, sweeps=130)
    assert percent - 1 <= 100 * sum(written for _page, written in visits) / len(visits) <= percent + 1
    assert wrong == 0 or pattern == ZIPF


def test_by_zipfs_law_few_pages_are_visited_often(walk: Path) -> None:
    slices, _wrong = walked(walk, 3000, 2, ZIPF, sweeps=40)
    for first, visits in zip((0, 1500), slices, strict=True):
        counts = collections.Counter(page for page, _written in visits)
        assert set(counts) <= set(range(first, first + 1500))
        often = [count / len(visits) for _page, count in counts.most_common()]
        # Of ten to eleven groups of ranks, each is visited equally often: the first is one page, the second two.
        assert 0.08 < often[0] < 0.12
        assert 0.035 < often[1] < 0.06 and 0.035 < often[2] < 0.06
        assert len(counts) > 1400


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ROM's program on a machine of 16 MB that never walks: it obeys its arguments and prints its answers.

    The argument "spoil ADDRESS" changes a word, "differ ADDRESS COUNT" prints how many of the pages from there on are
    different and not empty.
    """
    directory = tmp_path_factory.mktemp("bare")
    (directory / "program.c").write_text("""
        #define _GNU_SOURCE
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/mman.h>
        #include "bare.c"
        static char line[LINE_BYTES_MAX];
        uint32_t machine_memory_mb(void) { return 16; }
        uint64_t ticks(uint32_t ns) { return ns; }
        char *begin_line(bool wait) { return line; }
        void end_line(const char *end) { fwrite(line, 1, end - line, stdout); }
        void start_clock(void) {}
        uint64_t now_ns(void) { return 0; }
        uint64_t ticks_q_ns(uint64_t count) { return count; }
        uint32_t ns_pairs_per_tick_q32(void) { return 0; }
        uint32_t boot_number(void) { return 0; }
        unsigned start_cpus(void) { return 1; }
        void print(const char *text) {}
        bool open_port(void) { return true; }
        const char *next_command(void) { return 0; }
        static int compare(const void *a, const void *b) { return memcmp(a, b, PAGE_BYTES); }
        static int differing(unsigned char *pages, unsigned long count)
        {
            static const unsigned char empty[PAGE_BYTES];
            unsigned char *const copy = malloc(count * PAGE_BYTES);
            int found = 0;
            qsort(memcpy(copy, pages, count * PAGE_BYTES), count, PAGE_BYTES, compare);
            for (unsigned long i = 0; i < count; i++)
                found += compare(copy + i * PAGE_BYTES, i ? copy + (i - 1) * PAGE_BYTES : empty) != 0;
            return found;
        }
        int main(int argc, char **argv)
        {
            char *const memory = (char *)COUNTS_START;
            const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
            if (mmap(memory, 15 << 20, PROT_READ | PROT_WRITE, flags, -1, 0) != memory)
                return 77;
            cpus = 1;
            for (int i = 1; i < argc; i++) {
                unsigned long address, count;
                if (sscanf(argv[i], "spoil %li", &address) == 1)
                    ++*(uint32_t *)address;
                else if (sscanf(argv[i], "differ %li %lu", &address, &count) == 2)
                    printf("%d\\n", differing((unsigned char *)address, count));
                else
                    obey(argv[i]);
            }
            return 0;
        }""")
    # -w: on its own machine, addresses have 32 bits.
    command = ["gcc", "-w", "-fPIE", "-pie", "-I", SOURCES, "-I", SOURCES / "bare", "-o", directory / "program"]
    subprocess.run([*command, directory / "program.c", SOURCES / "bare/text.c"], check=True)
    return directory / "program"


def answers(bare: Path, *commands: str) -> list[str]:
    done = subprocess.run([bare, *commands], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this system does not give a program the addresses of the ROM's machine")
    assert done.returncode == 0, done
    return done.stdout.splitlines()


def test_idle_pages_all_differ_and_one_that_is_corrupted_is_noticed(bare: Path) -> None:
    idle = 0x400000 + 2 * 256 * 4096
    last_tag = 0x400000 + 5 * 256 * 4096 - 4096 + 4
    assert answers(
        bare,
        "start 2 random 512 100 3",
        f"differ {idle} {3 * 256}",
        "verify",
        f"spoil {last_tag}",
        "verify",
        "start 2 random 512 100 0",
        "verify",
    ) == ["768", "verified 1280 0", "verified 1280 1", "verified 512 0"]


@pytest.mark.parametrize("sizes", [(13, 0), (12, 1), (1, 12), (0, 1), (1, 3999999999), (3999999999, 294967298)])
def test_more_than_the_machine_has_is_refused(bare: Path, sizes: tuple[int, int]) -> None:
    window_mb, idle_mb = sizes
    assert answers(bare, "start 4 random 512 100 8", f"start {window_mb} random 512 100 {idle_mb}", "verify") == [
        "error no memory for the window and the idle pages",
        "error unknown command, or no window is walked",
    ]


def test_a_start_without_its_idle_memory_is_refused(bare: Path) -> None:
    assert answers(bare, "start 4 random 512 100") == ["error unknown command, or no window is walked"]
