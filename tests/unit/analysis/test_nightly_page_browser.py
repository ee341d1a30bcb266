# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The page of a thousand nights in a browser, without a network."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from chromium import PATIENCE_MS, chromium

from ansible_collections.vcsp.testbed.analysis.nightly import history, nights, store
from ansible_collections.vcsp.testbed.analysis.nightly.metrics import METRICS

CELLS = [f"0032mb-{pattern}-method{number}" for pattern in ("random", "sequential") for number in range(5)]
NIGHTS, WORSE_FROM = 1000, 990


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of as many nights, of which every hundredth has another kernel, and the last ten are worse."""
    root = tmp_path_factory.mktemp("nightly")
    (root / store.NIGHTS).mkdir()
    random, entries = np.random.default_rng(1), []
    for number in range(NIGHTS):
        values = {
            cell: {metric.name: [float(each) for each in row] for metric, row in zip(METRICS, rows, strict=True)}
            for cell, rows in zip(CELLS, 100 * np.exp(0.03 * random.standard_normal((10, 8, 7))), strict=True)
        }
        red = number >= WORSE_FROM
        if red:
            values[CELLS[7]]["stall_loss"] = [2 * each for each in values[CELLS[7]]["stall_loss"]]
        name = f"{np.datetime64('2026-01-01') + number}-nightly-030000"
        stack = {"kernel": f"6.{number // 100}", "QEMU version": "10.0.2"}
        night = nights.Night(name, f"{name[:10]}T03:00:00Z", "kind", {"stall_loss": 25.0}, values, stack, ())
        (root / store.NIGHTS / f"{name}.json").write_bytes(night.to_json())
        worse = ((CELLS[7], "stall_loss"),) if red else ()
        entries.append(store.Entry(name, number + 1, "regression" if red else "ok", worse, red, True, ()))
    store.write_state(root, store.State(tuple(entries)))
    return history.write_history(root)


def test_a_thousand_nights_open_within_three_seconds(page: Path) -> None:
    complaints: list[str] = []
    with chromium() as browser:
        taken_s = []
        for _ in range(3):
            opened = browser.new_page(viewport={"width": 1400, "height": 900}, offline=True)
            opened.set_default_timeout(PATIENCE_MS)
            opened.on("console", lambda message: complaints.append(message.text))
            opened.on("pageerror", lambda error: complaints.append(str(error)))
            began = time.monotonic()
            opened.goto(page.as_uri())
            opened.wait_for_selector(f"#charts figure:nth-child({len(METRICS)}) polyline")
            # Laid out and painted, not only built.
            opened.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            taken_s.append(time.monotonic() - began)
            assert opened.locator("tbody tr td.verdict").count() == NIGHTS
            # It opens at what is worse, and says since when.
            assert opened.locator("#cell").input_value() == CELLS[7]
            assert opened.locator("circle.bad").count() == NIGHTS - WORSE_FROM
            opened.close()
    print(f"opened in {', '.join(f'{each:.2f}' for each in taken_s)} s, {page.stat().st_size / 1e6:.1f} MB")
    assert complaints == []
    assert min(taken_s) <= 3  # the others may have waited for a busy machine
