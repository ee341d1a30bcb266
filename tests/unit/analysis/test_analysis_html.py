# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The web report as a file: what is in it, what cannot be, and how large it is."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import experiment_factory as factory
import pytest

from ansible_collections.vcsp.testbed.analysis.data.telemetry import TELEMETRY_FILE
from ansible_collections.vcsp.testbed.analysis.figures.every import draw_figures
from ansible_collections.vcsp.testbed.analysis.presentation import html_data
from ansible_collections.vcsp.testbed.analysis.presentation.html import report_html
from ansible_collections.vcsp.testbed.analysis.presentation.wording import contradictions, verdict_sentences
from ansible_collections.vcsp.testbed.analysis.report import report
from ansible_collections.vcsp.testbed.analysis.summary import summarise
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import write_record

LARGEST_PAGE_BYTES = 5_000_000
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


def _page(directory: Path) -> str:
    return report(directory).html.read_text(encoding="utf-8")


def _data(page: str) -> dict[str, Any]:
    match = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert match
    data: dict[str, Any] = json.loads(match[1])
    return data


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factory.full(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="module")
def page(finished: Path) -> str:
    return _page(finished)


def test_the_policy_allows_the_scripts_that_are_written_and_no_others(page: str) -> None:
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert "default-src 'none'" in html.unescape(policy[1])
    assert "unsafe-eval" not in policy[1]
    scripts = re.findall(r'<script type="module">(.*?)</script>', page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert re.findall(r"'sha256-([^']*)'", html.unescape(policy[1])) == hashes
    assert len(hashes) == 2


def test_downloads_hold_the_tables_whole(page: str, finished: Path) -> None:
    links = dict(re.findall(r'download="([^"]*)" href="data:text/csv;base64,([^"]*)"', page))
    assert list(links) == ["trials.csv", "table3.csv", "table3_paper_convention.csv"]
    trials = base64.b64decode(links["trials.csv"]).decode().splitlines()
    assert len(trials) == 25
    assert trials[0].startswith("trial_id,repeat,method,workload,")
    assert base64.b64decode(links["table3.csv"]) == (finished / "report" / "table3.csv").read_bytes()


def test_a_trial_has_everything_that_its_record_says(page: str, finished: Path) -> None:
    data = _data(page)
    assert len(data["trials"]) == 24
    trial = next(trial for trial in data["trials"] if trial["id"] == "r01-0064mb-sequential-vcsp")
    record = json.loads((finished / "trials" / trial["id"] / "record.json").read_text())
    for key in ("events", "measurements", "instruments", "validity", "clock_offset", "memory_verified"):
        assert trial[key] == record[key]
    assert data["provenances"][trial["provenance"]] == record["provenance"]
    assert len(data["provenances"]) == 1
    assert trial["settings"]["method"] == record["trial"]["method"]
    assert trial["curve"][0] == [-0.95, 300.0]


def test_text_from_records_stays_text(tmp_path: Path) -> None:
    of = factory.experiment(("post-copy", "vcsp"), repeats=1)
    of["provenance"]["remarks"] = [HOSTILE]
    record = factory.record(of, reasons=[HOSTILE])
    record["provenance"]["source"] = {HOSTILE: HOSTILE}
    record["events"].append({"host": "module", "name": "ODD", "data": {"why": HOSTILE}, "time_s": None})
    record["instruments"]["blocktime"]["reason"] = HOSTILE
    factory.write(tmp_path, of, [record])
    (tmp_path / "trials" / HOSTILE.replace("/", "")).mkdir()
    page = _page(tmp_path)
    markup = re.sub(r"<script([^>]*)>.*?</script>", r"<script\1>", page, flags=re.DOTALL)
    assert markup.count("<script") == 3
    assert "<img" not in markup.replace('<img src="data:image/svg+xml;base64,', "")
    assert _data(page)["trials"][0]["validity"]["reasons"] == [HOSTILE]


def test_unusable_telemetry_gives_no_curve(tmp_path: Path) -> None:
    of = factory.experiment(("post-copy", "vcsp"), repeats=1)
    factory.write(tmp_path, of, [factory.record(of)], {TELEMETRY_FILE: b"time_s\n"})
    write_record(tmp_path / "trials", factory.record(of, "vcsp"))
    assert [trial["curve"] for trial in _data(_page(tmp_path))["trials"]] == [None, None]


def test_the_verdict_names_sizes_intervals_and_contradictions(tmp_path: Path) -> None:
    of = factory.experiment(("post-copy", "vcsp"), [factory.workload(8), factory.workload(16)], repeats=3)
    records = []
    for load in of["scenario"]["workloads"]:
        for repeat in (1, 2, 3):
            for name, downtime_ms, throughput in (("post-copy", 100.0, 50.0), ("vcsp", 60.0, 40.0)):
                values = {
                    "downtime_ms": downtime_ms + repeat,
                    "throughput_mb_per_s": throughput + repeat,
                    "page_requests": 100 + 20 * repeat,
                }
                records.append(factory.record(of, name, load, repeat, values))
    summary = summarise(factory.write(tmp_path, of, records))
    assert summary.table
    (sentence,) = verdict_sentences(summary.table)
    assert sentence.startswith("Against post-copy, vcsp improves downtime by 39.2 % [3")
    assert "; it worsens throughput by 19.2 % [1" in sentence
    assert "; it shows no difference in pages transferred (+0.0 % [-" in sentence
    assert sentence.endswith("; it has no value for total migration time.")
    found = contradictions(summary.table)
    assert [line.split(":")[0] for line in found] == ["Downtime of vcsp", "Throughput of vcsp"]
    assert found[0].endswith("published -16 %.")
    page = report_html(summary, draw_figures(summary))
    assert "This contradicts the paper" in page
    assert "12 of 12 planned trials are valid." in page


def test_a_page_of_very_many_trials_lists_the_invalid_and_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html_data, "MOST_TRIALS", 3)
    of = factory.experiment(("post-copy", "vcsp"), repeats=3)
    records = [
        factory.record(of, method, repeat=repeat, reasons=["rebooted"] if (method, repeat) == ("vcsp", 3) else [])
        for method in ("post-copy", "vcsp")
        for repeat in (1, 2, 3)
    ]
    page = _page(factory.write(tmp_path, of, records))
    names = [trial["id"] for trial in _data(page)["trials"]]
    assert [name for name in (record["trial"]["id"] for record in records) if f'href="#trial={name}"' in page] == names
    assert names == [records[number]["trial"]["id"] for number in (0, 1, 5)]
    assert "3 of 6 trials are listed" in page


def test_a_report_of_the_paper_scenario_is_small(tmp_path: Path) -> None:
    windows = (8, 16, 32, 64, 128, 256, 512)
    factory.full(tmp_path, windows_mb=windows, repeats=1)
    # Of the longest trials, which are what makes a page large.
    rates = [300.0 + number % 7 for number in range(460)]
    for path in tmp_path.glob("trials/*/telemetry.csv"):
        path.write_bytes(factory.telemetry(rates, -5.0))
    lines = "".join(f"{n / 4e3:.6f},pc.ram,{n * 104729 % 131072 * 4096},4096,0,4096\n" for n in range(131072))
    for path in tmp_path.glob("trials/*-0512mb-*/requests.csv"):
        path.write_text("time_s,block,start,asked,sent_start,sent\n" + lines)
    page = _page(tmp_path)
    # 28 of 140 trials are here; the others add their data only.
    trials = len(json.dumps(_data(page)["trials"]))
    assert len(page) + 4 * trials < LARGEST_PAGE_BYTES
