# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Experiments as one file, and the committed results, which must still be drawn as they are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import experiment_factory as factory
import pytest

from ansible_collections.vcsp.testbed.analysis.command_line import main
from ansible_collections.vcsp.testbed.analysis.data.archive import pack
from ansible_collections.vcsp.testbed.analysis.data.checked import read_checked
from ansible_collections.vcsp.testbed.analysis.presentation.stacks import stacks_text
from ansible_collections.vcsp.testbed.analysis.presentation.tables import table3_markdown
from ansible_collections.vcsp.testbed.analysis.stacks import compare_stacks
from ansible_collections.vcsp.testbed.analysis.summary import summarise, summary_of
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError

TRACE = b"time_s,block,start,asked,sent_start,sent\n0.1,pc.ram,4096,4096,4096,40960\n"
RESULTS = Path(__file__).parents[3] / "docs" / "results"


def unpacked(archive: Path, target: Path) -> Path:
    target.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", target], check=True)
    return target


def test_a_report_is_drawn_again_from_what_was_packed(tmp_path: Path) -> None:
    directory = factory.full(tmp_path / "made", tuple(factory.METHODS), (8, 64), repeats=3)
    for trial in (directory / "trials").iterdir():
        (trial / "requests.csv").write_bytes(TRACE)
    pack(directory, tmp_path / "kept.tar.xz")
    again = unpacked(tmp_path / "kept.tar.xz", tmp_path / "again")
    assert table3_markdown(summarise(again)) == table3_markdown(summarise(directory))
    traced = {path.parent.name for path in again.glob("trials/*/requests.csv")}
    prefetched = {path.name for path in directory.glob("trials/*prefetching")}
    assert prefetched < traced
    assert len(traced) == len(prefetched) + 2, "and one trial of each other method"
    pack(directory, tmp_path / "same.tar.xz")
    assert (tmp_path / "same.tar.xz").read_bytes() == (tmp_path / "kept.tar.xz").read_bytes()


def test_what_cannot_be_packed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"must end in \.tar\.xz"):
        pack(factory.full(tmp_path / "made", ("post-copy",), (8,), repeats=1), tmp_path / "kept.zip")
    assert main(["pack", str(tmp_path / "nothing"), str(tmp_path / "kept.tar.xz")]) == 2
    assert "nothing" in capsys.readouterr().err
    assert not list(tmp_path.glob("kept*"))


@pytest.mark.parametrize("archive", sorted(RESULTS.glob("*/records.tar.xz")), ids=lambda path: path.parent.name)
def test_committed_results_are_drawn_from_the_records_beside_them(tmp_path: Path, archive: Path) -> None:
    again = read_checked(unpacked(archive, tmp_path / "again"))
    if again.stacks:
        summaries = [summary_of(again.of_stack(stack)) for stack in again.stacks]
        found = stacks_text(summaries, [compare_stacks(again, stack) for stack in again.stacks[1:]]) + "\n"
    else:
        found = table3_markdown(summary_of(again))
    assert found == archive.with_name("stacks.txt" if again.stacks else "table3.md").read_text(encoding="utf-8")
