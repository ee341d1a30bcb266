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
