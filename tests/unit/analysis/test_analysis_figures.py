# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Figures: what they say, and what goes into them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import experiment_factory as factory
import numpy as np
import pandas as pd
import pytest

from ansible_collections.vcsp.testbed.analysis.data.table import tidy
from ansible_collections.vcsp.testbed.analysis.data.telemetry import read_telemetry, throughput_samples
from ansible_collections.vcsp.testbed.analysis.figures.every import draw_figures
from ansible_collections.vcsp.testbed.analysis.figures.style import Figure, colours, shapes
from ansible_collections.vcsp.testbed.analysis.figures.throughput import throughput_figure
from ansible_collections.vcsp.testbed.analysis.figures.workloads import workload_figure
from ansible_collections.vcsp.testbed.analysis.statistics.curves import largest_curves, thinned
from ansible_collections.vcsp.testbed.analysis.statistics.interval import means, t_quantile
from ansible_collections.vcsp.testbed.analysis.statistics.metrics import METRICS
from ansible_collections.vcsp.testbed.analysis.summary import summarise
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import read_experiment, write_record

PAPER = [
    "figure3_downtime.svg",
    "figure4_total_migration_time.svg",
    "figure5_pages_transferred.svg",
    "figure6_throughput.svg",
]
NAMES = [
    *PAPER,
    "time_decomposition.svg",
    "visit_times.svg",
    "request_heatmap.svg",
    "prefetch_accuracy.svg",
    "instrument_agreement.svg",
]


def _draw(directory: Path) -> dict[str, str]:
    return {name: figure.svg for name, figure in draw_figures(summarise(directory)).by_file.items()}


def _draw_downtime(directory: Path) -> str:
    experiment = read_experiment(directory)
    return workload_figure(tidy(experiment), experiment.methods, METRICS[0], "Figure 3. ").svg


def _draw_throughput(directory: Path) -> str:
    experiment = read_experiment(directory)
    return throughput_figure(largest_curves(experiment), experiment.methods, "post-copy").svg


def _texts(svg: str) -> list[str]:
    """Return all texts of an SVG, which must be well-formed."""
    root = ElementTree.fromstring(svg)
    return ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment of four methods and two windows."""
    return factory.full(tmp_path_factory.mktemp("finished"), windows_mb=(8, 16))


@pytest.fixture(scope="module")
def figures(finished: Path) -> dict[str, str]:
    return _draw(finished)


def test_the_figures_name_axes_units_methods_and_windows(figures: dict[str, str]) -> None:
    assert list(figures) == NAMES
    axes = ["Downtime (ms)", "Total migration time (s)", "Pages transferred (page requests)", "Throughput (MB/s)"]
    for number, (name, axis) in enumerate(zip(PAPER, axes, strict=True), start=3):
        svg = figures[name]
        texts = _texts(svg)
        assert axis in texts
        assert set(factory.METHODS) <= set(texts)
        assert any(text.startswith(f"Figure {number}.") for text in texts)
        assert "http" not in svg.replace("http://www.w3.org/", "")  # nothing to load
        if number < 6:
            assert {"Working window (MB)", "8", "16"} <= set(texts)
            assert any("means of 3 trials with 95 % intervals" in text for text in texts)


def test_the_same_records_give_the_same_figures(figures: dict[str, str], finished: Path) -> None:
    assert _draw(finished) == figures


def test_the_axis_is_logarithmic_when_the_windows_are_far_apart(tmp_path: Path) -> None:
    texts = _texts(_draw_downtime(factory.full(tmp_path, ("post-copy", "vcsp"), (8, 512), repeats=2)))
    assert "Downtime (ms, log scale)" in texts
    assert {"100", "1,000", "10,000"} <= set(texts)


def test_kinds_of_walk_get_a_panel_each(tmp_path: Path) -> None:
    factory.full(tmp_path, ("post-copy", "vcsp"), patterns=("sequential", "random"), repeats=1)
    texts = _texts(_draw_downtime(tmp_path))
    assert {"sequential walk, work 4 per page", "random walk, work 4 per page"} <= set(texts)


def test_single_trials_are_drawn_without_intervals(tmp_path: Path) -> None:
    factory.full(tmp_path, ("post-copy", "vcsp"), (8,), repeats=1)
    assert any("single trials, so no intervals" in text for text in _texts(_draw_downtime(tmp_path)))
    assert any("single trials" in text for text in _texts(_draw_throughput(tmp_path)))


def test_without_data_a_figure_says_so(tmp_path: Path) -> None:
    of = factory.experiment()
    figures = _draw(factory.write(tmp_path, of, [factory.record(of, reasons=["failed"])], {"telemetry.csv": b""}))
    assert list(figures) == NAMES
    assert "No valid trial has a downtime." in _texts(figures["figure3_downtime.svg"])
    assert "No valid trial has a usable telemetry.csv." in _texts(figures["figure6_throughput.svg"])
    for name in NAMES[4:]:
        assert any(text.startswith("No valid trial has") for text in _texts(figures[name])), name


def test_figure_6_marks_the_migration(figures: dict[str, str]) -> None:
    texts = _texts(figures["figure6_throughput.svg"])
    assert texts.count("resume") == texts.count("completed 1.50 s") == 4
    assert "Time since resume on the destination (s)" in texts
    assert any(text.startswith("16 MB sequential work 4, medians of 3 trials") for text in texts)


def test_a_long_migration_and_a_short_one_keep_their_labels_inside(tmp_path: Path) -> None:
    of = factory.experiment(("post-copy", "vcsp"), repeats=1)
    files = {"telemetry.csv": factory.telemetry([100.0] * 40)}
    late = factory.record(of)
    early = factory.record(of, "vcsp")
    late["events"][-1]["time_s"], early["events"][-1]["time_s"] = 2.9, 1.2
    factory.write(tmp_path, of, [late, early], files)
    svg = _draw_throughput(tmp_path)
    anchors = {
        text: next(part.get("text-anchor") for part in ElementTree.fromstring(svg).iter() if part.text == text)
        for text in ("completed 2.90 s", "completed 1.20 s")
    }
    assert anchors == {"completed 2.90 s": "end", "completed 1.20 s": "start"}


def test_long_curves_are_thinned_by_averaging() -> None:
    samples = pd.DataFrame({"time_s": np.arange(10.0), "mb_per_s": np.arange(10.0)})
    assert thinned(samples, 10) is samples
    assert thinned(samples, 4)["mb_per_s"].tolist() == [1, 4, 7, 9]


def test_every_workload_has_its_figure_6_the_largest_first(finished: Path) -> None:
    of_workload = draw_figures(summarise(finished)).by_workload["figure6_throughput.svg"]
    assert list(of_workload) == ["16 MB sequential work 4", "8 MB sequential work 4"]


def test_figure_6_takes_the_largest_window_of_which_all_methods_have_telemetry(tmp_path: Path) -> None:
    factory.full(tmp_path, ("post-copy", "vcsp"), (8, 16, 64), repeats=2)
    for trial in (tmp_path / "trials").glob("*-0064mb-*-vcsp"):
        (trial / "telemetry.csv").unlink()
    curves = largest_curves(read_experiment(tmp_path))
    assert curves.workload == "16 MB sequential work 4"
    assert list(curves.by_method) == ["post-copy", "vcsp"]
    curve = curves.by_method["vcsp"]
    assert (curve.n, curve.completion_s) == (2, 1.5)
    # The median of the two repeats' 121 and 122 MB/s, in the sample that begins at resume.
    after_resume = curve.samples[curve.samples["time_s"].round(3) == 0.05]
    assert after_resume["mb_per_s"].item() == pytest.approx(121.5, abs=0.1)


def test_a_method_without_telemetry_is_named(tmp_path: Path) -> None:
    factory.full(tmp_path, ("post-copy", "vcsp"), (8,))
    for trial in (tmp_path / "trials").glob("*-vcsp"):
        (trial / "telemetry.csv").unlink()
    texts = _texts(_draw_throughput(tmp_path))
    assert any("no telemetry for vcsp" in text for text in texts)


def test_unusable_telemetry_is_left_out_and_named(tmp_path: Path) -> None:
    of = factory.experiment()
    factory.write(tmp_path, of, [factory.record(of)], {"telemetry.csv": factory.telemetry([100.0] * 5)})
    write_record(tmp_path / "trials", factory.record(of, "vcsp"), {"telemetry.csv": b"time_s\n1\n"})
    curves = largest_curves(read_experiment(tmp_path))
    assert list(curves.by_method) == ["post-copy"]
    (skipped,) = curves.skipped
    assert skipped.name.endswith("-vcsp")
    assert "not in Figure 6: telemetry.csv does not begin with time_s,host,pages" in skipped.reason


def test_completion_falls_back_on_the_total_migration_time(tmp_path: Path) -> None:
    of = factory.experiment()
    record = factory.record(of, measurements={"total_migration_time_s": 2.5})
    record["events"] = [event for event in record["events"] if event["data"].get("status") != "completed"]
    files = {"telemetry.csv": factory.telemetry([100.0] * 5)}
    curves = largest_curves(read_experiment(factory.write(tmp_path / "some", of, [record], files)))
    assert curves.by_method["post-copy"].completion_s == 2.5
    record["events"] = []
    curves = largest_curves(read_experiment(factory.write(tmp_path / "none", of, [record], files)))
    assert curves.by_method["post-copy"].completion_s is None


def _telemetry(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "telemetry.csv"
    path.write_text("\n".join(["time_s,host,pages,stalls,stall_ms", *lines, ""]))
    return path


def test_throughput_is_sampled_on_the_clock_of_resume(tmp_path: Path) -> None:
    # 2560 pages are 10 MB: 100 MB/s before resume, then a stall of 0.3 s over which one page is spread.
    path = _telemetry(tmp_path, "-0.2,source,0,0,0", "0.0,source,5120,0,0", "0.3,destination,5888,1,300")
    numbers, mb_per_s = throughput_samples(read_telemetry(path))
    assert numbers.tolist() == [-2, -1, 0, 1, 2]
    assert mb_per_s == pytest.approx(np.array([100, 100, 10, 10, 10]))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "fewer than two"),
        (["0,source,0,0,0"], "fewer than two"),
        (["0,source,0,0,0", "0.1,source,nan,0,0"], "finite"),
        (["0,source,0,0,0", "0.1,source,x,0,0"], "could not convert"),
        (["0,source,0,0,0", "0.1,sou"], "truncated"),
        (["0,source,9,0,0", "0.1,source,8,0,0"], "backwards"),
        (["1,source,0,0,0", "0.1,source,8,0,0"], "backwards"),
    ],
)
def test_bad_telemetry_is_refused(tmp_path: Path, lines: list[str], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        read_telemetry(_telemetry(tmp_path, *lines))


def test_binary_and_absent_telemetry_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.csv"
    with pytest.raises(InputError, match="cannot be read"):
        read_telemetry(path)
    path.write_bytes(b"\xff\x00")
    with pytest.raises(InputError, match="not CSV text"):
        read_telemetry(path)


def test_means_carry_students_interval() -> None:
    trials = pd.DataFrame(
        {"method": ["a", "a", "a", "a", "b"], "valid": [True, True, True, False, True], "x": [1.0, 2.0, 3.0, 99.0, 5.0]}
    ).assign(pair="")
    three, single = means(trials, ["method"], "x").to_dict("records")
    # t(0.975, 2) = 4.3027, standard error 1 / sqrt(3)
    assert three == pytest.approx({"method": "a", "mean": 2, "low": -0.48414, "high": 4.48414, "n": 3}, abs=1e-4)
    assert (single["mean"], single["n"]) == (5, 1)
    assert np.isnan(single["low"])
    assert np.isnan(single["high"])


def test_means_of_pairs_have_equal_weight_and_a_scatter_of_their_own() -> None:
    trials = pd.DataFrame({"method": "a", "pair": [*"llrrr"], "valid": True, "x": [1.0, 3.0, 11.0, 12.0, 13.0]})
    (found,) = means(trials, ["method"], "x").to_dict("records")
    # Variances of the means: 1 and 1/3, so a standard error of sqrt(4/3)/2, with (4/3)^2 / (1/1 + (1/3)^2 / 2) degrees.
    freedom = (4 / 3) ** 2 / (1 + 1 / 18)
    half = float(t_quantile(freedom)) * np.sqrt(4 / 3) / 2
    assert found == pytest.approx({"method": "a", "mean": 7, "low": 7 - half, "high": 7 + half, "n": 5})


def test_many_methods_are_all_distinguishable() -> None:
    methods = [str(number) for number in range(40)]
    assert len(set(zip(colours(methods), shapes(methods), strict=True))) == 40


def test_a_long_subtitle_takes_more_lines_instead_of_more_width() -> None:
    short, long = (ElementTree.fromstring(Figure("A title", words, None).svg) for words in ("word", "word " * 60))
    assert long.get("width") == short.get("width")
    lines = [text for element in long.iter() if "word" in (text := element.text or "")]
    assert len(lines) == 3
    assert max(map(len, lines)) <= 116
