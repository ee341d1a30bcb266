# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of an experiment and the command line that writes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import experiment_factory as factory
import pandas as pd
import pytest

from ansible_collections.vcsp.testbed.analysis.command_line import main
from ansible_collections.vcsp.testbed.analysis.figures.workloads import workload_figure
from ansible_collections.vcsp.testbed.analysis.report import Report, report
from ansible_collections.vcsp.testbed.analysis.statistics.metrics import METRICS
from ansible_collections.vcsp.testbed.analysis.statistics.requests import ACCURACY
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import write_experiment

ROOT = Path(__file__).resolve().parents[3]
FIGURES = [
    "figure3_downtime",
    "figure4_total_migration_time",
    "figure5_pages_transferred",
    "figure6_throughput",
    "instrument_agreement",
    "prefetch_accuracy",
    "request_heatmap",
    "time_decomposition",
    "visit_times",
]
TABLES = ["table3.csv", "table3.md", "table3_paper_convention.csv", "trials.csv"]


class _Page(HTMLParser):
    """Collects tags, text and what a page would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of a finished experiment."""
    return report(factory.full(tmp_path_factory.mktemp("finished")))


def test_a_finished_experiment_gives_all_files(paths: Report) -> None:
    directory = paths.html.parent
    drawn = [f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")]
    assert sorted(path.name for path in directory.iterdir()) == sorted([*drawn, "report.html", *TABLES])
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in directory.glob("*.png"))
    assert all(path.stat().st_size for path in directory.iterdir())

    page = _Page(paths.html.read_text())
    assert page.tags.count("figure") == len(FIGURES)
    assert all(place.startswith(("#", "data:")) for place in page.loads)
    assert "24 of 24 trials recorded: 24 valid, 0 invalid" in page.text
    assert "None: every planned trial is valid." in page.text
    assert "Against post-copy, vcsp-prefetching improves downtime by 75.0 % [" in page.text
    assert "8.17" in page.text
    assert "QEMU < 9 & <no field>" in page.text

    text = paths.text
    assert "+75.0" in text
    assert "8.17" in text
    assert max(map(len, text.splitlines())) <= 110


def test_an_experiment_of_two_methods_and_one_repeat(tmp_path: Path) -> None:
    paths = report(factory.full(tmp_path, ("post-copy", "vcsp-prefetching"), (8,), repeats=1))
    lines = paths.html.with_name("table3.csv").read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("vcsp-prefetching,50.0000,,,1,")
    assert "no interval: some workload has a single valid trial" in paths.html.with_name("table3.md").read_text()


def test_an_unfinished_experiment_says_what_is_left_out_and_why(tmp_path: Path) -> None:
    of = factory.experiment(("post-copy", "vcsp"), repeats=3)
    records = [
        factory.record(of, "post-copy", repeat=1),
        factory.record(of, "vcsp", repeat=1, measurements={"downtime_ms": 50.0}),
        factory.record(of, "vcsp", repeat=2, reasons=["<b>guest|rebooted</b>\x1b[31m", "`again`"]),
    ]
    factory.write(tmp_path, of, records)
    (tmp_path / "trials" / "cut").mkdir()
    (tmp_path / "trials" / "cut" / "record.json").write_text('{"schema_version": 1, "<script>')
    paths = report(tmp_path)
    page = _Page(paths.html.read_text())
    markdown = paths.html.with_name("table3.md").read_text()
    for text in (page.text, markdown, paths.text):
        assert "3 of 6 trials recorded: 2 valid, 1 invalid; 3 missing; 1 unusable entries skipped" in text
    assert page.tags.count("script") == 3  # the data, the libraries, and the page's own
    assert "b" not in page.tags
    assert "<b>guest|rebooted</b>" in page.text
    assert "\\<b\\>guest\\|rebooted\\</b\\>" in markdown
    for text in (page.text, markdown):
        assert "truncated" in text
        assert "8 MB sequential work 4, post-copy: repeats 2, 3" in text
        assert "8 MB sequential work 4, vcsp: repeat 3" in text


@pytest.mark.parametrize(
    ("methods", "expected"),
    [(("vcsp",), "no trial of post-copy is valid"), (("post-copy",), "no method to compare with post-copy")],
)
def test_without_a_comparison_there_is_a_notice_and_no_table(
    tmp_path: Path, methods: tuple[str, ...], expected: str
) -> None:
    factory.full(tmp_path, methods, (8,), repeats=1)
    stale = tmp_path / "report" / "table3.csv"
    stale.parent.mkdir()
    stale.write_text("of an earlier report")
    paths = report(tmp_path)
    assert not list(paths.html.parent.glob("table3*.csv"))
    assert not stale.exists()
    assert expected in str(paths.summaries[0].notice)
    assert expected in _Page(paths.html.read_text()).text
    assert expected in paths.html.with_name("table3.md").read_text()
    assert expected in paths.text
    assert "## Improvement" not in paths.html.with_name("table3.md").read_text()


def test_only_failed_trials_give_reasons_and_no_table(tmp_path: Path) -> None:
    of = factory.experiment(("post-copy", "vcsp"), repeats=1)
    factory.write(
        tmp_path, of, [factory.record(of, name, reasons=["no userfaultfd"]) for name in ("post-copy", "vcsp")]
    )
    paths = report(tmp_path)
    assert not list(paths.html.parent.glob("table3*.csv"))
    assert "none of the 2 trials that were read is valid" in str(paths.summaries[0].notice)
    assert "no userfaultfd" in _Page(paths.html.read_text()).text


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema_version": 1}', '{"schema_version": 2}'])
def test_a_broken_experiment_gives_nothing(tmp_path: Path, content: str) -> None:
    factory.full(tmp_path, windows_mb=(8,), repeats=1)
    (tmp_path / "experiment.json").write_text(content)
    with pytest.raises(InputError, match=r"experiment\.json"):
        report(tmp_path)
    assert not (tmp_path / "report").exists()


def test_records_that_are_all_malformed_give_no_table(tmp_path: Path) -> None:
    factory.full(tmp_path, windows_mb=(8,), repeats=1)
    for path in (tmp_path / "trials").glob("*/record.json"):
        path.write_text(path.read_text()[:-10])
    paths = report(tmp_path)
    assert not list(paths.html.parent.glob("table3*.csv"))
    assert "none of the 0 trials that were read is valid" in str(paths.summaries[0].notice)
    assert len(paths.summaries[0].experiment.skipped) == 4


def test_the_command_prints_the_table_and_the_path_and_gives_the_same_files_again(
    paths: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    first = {path.name: path.read_bytes() for path in paths.html.parent.iterdir()}
    assert main(["report", str(paths.html.parents[1])]) == 0
    output = capsys.readouterr()
    assert paths.text in output.out
    assert f"Report: {paths.html}" in output.out
    assert output.err == ""
    assert {path.name: path.read_bytes() for path in paths.html.parent.iterdir()} == first


def test_the_command_says_on_standard_error_why_there_is_no_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_experiment(tmp_path, factory.experiment())
    (tmp_path / "trials" / "empty").mkdir(parents=True)
    assert main(["report", str(tmp_path)]) == 2
    output = capsys.readouterr()
    assert "skipped empty: no record.json" in output.err
    assert "error: no Table 3: none of the 0 trials" in output.err
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "there is no such file; give the directory of an experiment" in capsys.readouterr().err


def test_nothing_to_compare_is_no_error_when_nothing_was_to_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    factory.full(tmp_path, ("post-copy",), (8,), repeats=2)
    assert main(["report", str(tmp_path)]) == 0
    assert "no Table 3: there is no method to compare with post-copy" in capsys.readouterr().out
    assert (tmp_path / "report" / "figure3_downtime.svg").exists()


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    factory.full(tmp_path, ("post-copy", "vcsp"), (8,), repeats=1)
    (tmp_path / "report").write_text("in the way")
    assert main(["report", str(tmp_path)]) == 2
    assert f"error: {tmp_path}/report: File exists" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["report"], ["no-such-command"], ["report", "a", "b"]])
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main(arguments)
    assert ending.value.code == 2
    assert "usage: python -m analysis" in capsys.readouterr().err


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["--help"])
    assert ending.value.code == 0
    assert "python -m analysis report results/latest" in capsys.readouterr().out


# Prints which modules have the short name once the command line has ended.
ENDING = """
import atexit, runpy, sys
sys.argv[1:] = ["report", "no-experiment"]
atexit.register(lambda: print([name for name in sys.modules if name.split(".")[0] == "analysis"]))
runpy.run_module("analysis", run_name="__main__")
"""


@pytest.mark.parametrize("place", ["checkout", "elsewhere", "installed"])
def test_the_command_line_runs_anywhere_and_under_the_full_name_only(place: str, tmp_path: Path) -> None:
    # PyPI's ansible brings a package that hides every other directory of its name.
    pypi = tmp_path / "pypi" / "ansible_collections"
    pypi.mkdir(parents=True)
    (pypi / "__init__.py").touch()
    installed = tmp_path / "ansible_collections" / "vcsp" / "testbed"
    for name in ("analysis", "plugins"):
        shutil.copytree(ROOT / name, installed / name, ignore=shutil.ignore_patterns("__pycache__"))
    directory = {"checkout": ROOT, "elsewhere": tmp_path, "installed": installed}[place]
    path = [str(pypi.parent), str(ROOT)] if place == "elsewhere" else [str(pypi.parent)]
    ran = subprocess.run(
        [sys.executable, "-c", ENDING],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr == (
        "error: no-experiment/experiment.json: there is no such file; give the directory of an experiment, such as"
        " results/latest\n"
    )
    assert ran.stdout == "['analysis']\n"


def test_what_it_was_measured_on_and_absolute_values_stand_in_the_report(tmp_path: Path) -> None:
    directory = factory.full(tmp_path)
    for path in directory.glob("trials/*/record.json"):
        record = json.loads(path.read_text())
        host = {"accelerator": {"name": "tcg"}, "qemu": {"version": "10.0.2"}, "kernel": "6.12.0"}
        record["provenance"] |= {"source": host, "destination": {**host, "cpu": {"model": "Xeon", "count": 2}}}
        times = {"ping_us": 201.3, "page_us": 236.2, "bulk_mbit_per_s": 963.5, "cost_cores": 0.14}
        record["link"] = {**record["trial"]["link"], "proof": {**times, "proved_at": "2026-01-31T23:58:00Z"}}
        path.write_text(json.dumps(record))
    paths = report(directory)
    markdown, page = (directory / "report" / "table3.md").read_text(), paths.html.read_text()
    machine = "accelerator tcg, QEMU version 10.0.2, kernel 6.12.0, CPU model not stated (source), Xeon (destination)"
    for text in (markdown, page):
        assert machine in text
        assert "link 1000 Mbit/s, 100 µs one way, fair queue, cubic, as proved 201 µs for 16 bytes, 236 µs" in text
        assert "Absolute values" in text
    # Of 8 and 64 MB: (20 * 8 + 20 * 64) / 2 * 1.04.
    assert "| 749 [" in markdown
    assert (directory / "report" / "trials.csv").read_text().startswith("trial_id,repeat,method,")


def test_an_interval_of_a_share_ends_at_all_and_of_an_amount_at_nothing() -> None:
    columns = {"method": ["vcsp"] * 2, "workload": "8 MB", "pair": "", "stack": "", **factory.workload(8)}
    frame = pd.DataFrame({**columns, "valid": True, ACCURACY.measurement: [99.0, 60.0], "downtime_ms": [1.0, 100.0]})
    for metric in (ACCURACY, METRICS[0]):
        (points,) = workload_figure(frame, ["vcsp"], metric, "").spec()["datasets"].values()
        assert points[0]["low"] >= 0
        assert points[0]["high"] <= (100 if metric is ACCURACY else 1000)
