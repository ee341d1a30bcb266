# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The bare guest's ROM as it is built, and the walk that it shares with the other guest. tests/integration boots it."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[3] / "roles/guest_image/files"
ROM_BYTES = 64 << 10

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
    """A program that prints a sweep of each slice: pages of the window, number of slices, whether at random."""
    directory = tmp_path_factory.mktemp("walk")
    (directory / "walk.c").write_text("""
        #include <stdio.h>
        #include <stdlib.h>
        #include "walk.h"
        int main(int argc, char **argv)
        {
            for (int i = 0; i < atoi(argv[2]); i++) {
                const struct slice s = make_slice(atoi(argv[1]), i, atoi(argv[2]), atoi(argv[3]));
                for (uint32_t step = 0; step < s.pages; step++)
                    printf("%u ", s.first_page + page_at(&s, step));
                printf("\\n");
            }
            return argc != 4;
        }""")
    command = ["gcc", "-Wall", "-Wextra", "-Werror", "-I", SOURCES, "-o", directory / "walk", directory / "walk.c"]
    subprocess.run(command, check=True)
    return directory / "walk"


@pytest.mark.parametrize("pages", [256, 2048, 3584, 12800])
@pytest.mark.parametrize("slices", [1, 2, 3, 16])
@pytest.mark.parametrize("at_random", [False, True])
def test_a_sweep_visits_every_page_once(walk: Path, pages: int, slices: int, at_random: bool) -> None:
    text = subprocess.run(
        [walk, str(pages), str(slices), str(int(at_random))], capture_output=True, text=True, check=True
    ).stdout
    sweeps = [[int(word) for word in line.split()] for line in text.splitlines()]
    assert sorted(itertools.chain(*sweeps)) == list(range(pages))
    assert len(sweeps) == slices
    assert max(map(len, sweeps)) - min(map(len, sweeps)) <= 1
    in_order = [sweep == sorted(sweep) for sweep in sweeps]
    assert in_order == [not at_random] * slices
