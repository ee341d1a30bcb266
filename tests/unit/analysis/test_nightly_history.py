# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How the nights went on: the page, and the same as data."""

from __future__ import annotations

import json
import re
import sqlite3
import xml.etree.ElementTree as ET
from pathlib import Path

import nightly_factory as factory
import numpy as np
import pandas as pd
import pytest
from nightly_factory import CELL

from ansible_collections.vcsp.testbed.analysis.command_line import main
from ansible_collections.vcsp.testbed.analysis.nightly import history, nights, store

SLOWER = {"total_migration_time_s": 1.3}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen nights; from the tenth on, with another kernel, everything takes longer. The third was not sound."""
    root = tmp_path_factory.mktemp("nightly")
    for number in range(1, 16):
        slow = number > 9
        spoil = {0: factory.CORRUPT} if number == 3 else None
        made = factory.night(
            root, number, SLOWER if slow else None, kernel="6.13.0<b>" if slow else "6.12.0", spoil=spoil
        )
        store.settle(root, store.read_finished(made))
    (root / "2026-01-14-night" / "report").mkdir()
    (root / "2026-01-14-night" / "report" / "report.html").touch()
    store.decide(root, "reject", "2026-01-15-night", "<script>known</script>")
    assert main(["nightly", "history", "--results", str(root)]) == 0
    return root


def test_the_page_loads_nothing_and_escapes_what_it_shows(root: Path) -> None:
    page = (root / "history" / "index.html").read_text()
    assert not re.search(r"https?://(?!www\.w3\.org/)", page)
    assert "<script>known" not in page
    assert "6.13.0<b>" not in page
    assert page.count("<script") == 2


def test_the_page_lists_each_night_with_its_verdict_and_what_changed(root: Path) -> None:
    page = (root / "history" / "index.html").read_text()
    rows = re.findall(
        r'<tr><td>(?:<a href="([^"]*)">)?([\w-]+-night)(?:</a>)?</td>\s*<td>[^<]*</td><td class="verdict (\w+)">', page
    )
    assert [(night, verdict) for _link, night, verdict in rows][::-1] == list(
        store.outcomes(store.read_state(root)).items()
    )
    assert {verdict for _link, _night, verdict in rows} == {"learning", "failed", "ok", "regression"}
    assert [link for link, _night, _verdict in rows if link] == ["../2026-01-14-night/report/report.html"]
    assert "kernel: 6.12.0 → 6.13.0&lt;b&gt;" in page
    assert f"{CELL}: total_migration_time" in page
    assert "memory check failed" in page


def test_the_data_hold_every_trial(root: Path) -> None:
    trials = pd.read_sql(
        "SELECT * FROM trials JOIN nights USING (night)", sqlite3.connect(root / "history" / "nights.sqlite")
    )
    assert trials.groupby("night").size().to_dict()["2026-01-01-night"] == 2 * 4 * 4
    slow = (
        trials[(trials["metric"] == "total_migration_time") & (trials["cell"] == CELL)]
        .groupby("verdict")["value"]
        .mean()
    )
    assert slow["regression"] / slow["ok"] == pytest.approx(1.3, rel=0.01)
    found = json.loads((root / "history" / "history.json").read_text())
    [series] = [each for each in found["series"] if (each["cell"], each["metric"]) == (CELL, "total_migration_time")]
    assert series["red"] == list(range(9, 15))
    assert all(
        low < mean < high for low, mean, high in zip(*(series[key] for key in ("lows", "means", "highs")), strict=True)
    )


def test_the_last_night_for_other_programs(root: Path) -> None:
    lines = (root / "history" / "metrics.prom").read_text().splitlines()
    assert lines[-1] == "# EOF"
    assert 'vcsp_nightly_verdict{vcsp_nightly_verdict="regression"} 1' in lines
    assert any(
        re.fullmatch(rf'vcsp_nightly_loss_ratio{{cell="{CELL}",metric="total_migration_time"}} 0\.(29|30)\d*', line)
        for line in lines
    )
    sample = re.compile(r'[a-z_]+(\{([a-z_]+="[^"]*",?)+\})? -?[0-9.e+-]+')
    assert all(sample.fullmatch(line) for line in lines if not line.startswith("#"))
    assert ET.parse(root / "history" / "junit.xml").getroot().get("failures") == "1"
    assert "regression" in (root / "history" / "summary.md").read_text()


def test_a_level_that_changed_is_found_where_it_did() -> None:
    pytest.importorskip("ruptures")
    random = np.random.default_rng(4)
    steps = 0
    for _ in range(50):
        unchanged = 0.03 * random.standard_normal(60)
        steps += bool(history.change_points(unchanged))
        changed = unchanged + np.where(np.arange(60) >= 40, 0.15, 0)
        changed[7] = np.nan
        found = history.change_points(changed)
        assert found is not None
        assert any(abs(place - 40) <= 1 for place in found)
    assert steps <= 3
    assert history.change_points(np.zeros(60)) == ()
    assert history.change_points(np.arange(5.0)) == ()


def test_no_nights_are_a_page_too(tmp_path: Path) -> None:
    assert main(["nightly", "history", "--results", str(tmp_path)]) == 0
    assert "There is no night yet" in (tmp_path / "history" / "index.html").read_text()


def test_a_night_that_measured_nothing_is_in_the_history(tmp_path: Path) -> None:
    store.settle(tmp_path, nights.unmeasured("2026-01-01-night", "2026-01-01T03:00:00Z", ["no host"]))
    store.settle(tmp_path, store.read_finished(factory.night(tmp_path, 2)))
    page = history.write_history(tmp_path).read_text()
    assert "no host" in page
