# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The web report in a browser, without a network: charts, filter, drill-down, and windows narrow and wide.

What a browser does, it does in its own time: every expectation is waited for (``expect``), never looked up once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import experiment_factory as factory
import pytest
from chromium import PATIENCE_MS, chromium

from ansible_collections.vcsp.testbed.analysis.report import report
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.records import write_record

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
DOWNTIME = "figure[data-file='figure3_downtime.svg']"
INVALID = "r03-0064mb-sequential-vcsp"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with traces, instruments, and a trial that is invalid for a hostile reason."""
    directory = factory.full(tmp_path_factory.mktemp("finished"))
    of = factory.experiment(workloads=[factory.workload(8), factory.workload(64)])
    record = factory.record(of, "vcsp", factory.workload(64), 3, reasons=[HOSTILE])
    record["provenance"]["source"] = {"hostname": HOSTILE}
    write_record(directory / "trials", record, {"telemetry.csv": factory.telemetry([100.0] * 30)})
    lines = "".join(f"{n / 100:.2f},pc.ram,{n * 40960},4096,{n * 40960},40960\n" for n in range(100))
    for path in directory.glob("trials/*/requests.csv"):
        path.write_text("time_s,block,start,asked,sent_start,sent\n" + lines)
    return report(directory).html


@pytest.fixture
def page(browser: Any, html: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The report in a window of the width that the test asks for; whatever it complains of fails the test."""
    width = getattr(request, "param", 1400)
    complaints: list[str] = []
    opened = browser.new_page(viewport={"width": width, "height": 900})
    opened.set_default_timeout(PATIENCE_MS)
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda sent: _local(sent.url) or complaints.append(f"loads {sent.url}"))
    opened.goto(html.as_uri())
    opened.wait_for_selector("html.scripted")
    yield opened
    assert opened.title() != "taken"
    opened.close()
    assert complaints == []


def expect(what: Any) -> Any:
    """Playwright's assertions, which wait for what they assert."""
    from playwright import sync_api

    return sync_api.expect(what)


def _local(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:"))


def _charts(page: Any) -> Any:
    """Scroll to all figures, which are drawn when they come into view, and return those with a drawn chart."""
    figures = page.locator("figure[data-file]")
    for number in range(figures.count()):
        figures.nth(number).scroll_into_view_if_needed()
        if figures.nth(number).locator(".chart").count():
            figures.nth(number).locator(".vega-embed svg.marks, .vega-embed canvas.marks").wait_for()
    return page.locator("figure .vega-embed .marks")


def _wait_until_it_fits(page: Any, selector: str) -> None:
    page.wait_for_function(f"(box => box.scrollWidth <= box.clientWidth)(document.querySelector('{selector}'))")


@pytest.mark.parametrize("page", [390, 1400], indirect=True)
def test_no_window_is_too_narrow(page: Any) -> None:
    assert _charts(page).count() >= 6
    _wait_until_it_fits(page, "html")
    page.locator("#trials tbody a").first.click()
    page.locator("#trial svg.marks").wait_for()
    _wait_until_it_fits(page, "html")
    _wait_until_it_fits(page, "#trial")


@pytest.mark.parametrize("page", [390, 1000, 1600], indirect=True)
def test_tables_are_seen_whole(page: Any) -> None:
    page.evaluate("document.querySelectorAll('section > details').forEach(each => { each.open = true })")
    for table in ("#table3", "#published ~ .scroll", "#up-to", "#findings", "#trials", "#instruments"):
        expect(page.locator(f"{table} tbody td").first).to_be_visible()
    page.wait_for_function(
        "[...document.querySelectorAll('.scroll:has(table)')].every(box => box.scrollWidth <= box.clientWidth)"
    )


def test_what_is_folded_is_printed(page: Any) -> None:
    folded = page.locator("#findings td").first
    expect(folded).to_be_hidden()
    page.emulate_media(media="print")
    expect(folded).to_be_visible()


def test_a_picture_that_is_printed_has_one_title(page: Any) -> None:
    # The last figure is drawn when it comes into view, and until then a picture.
    figure = page.locator("figure[data-file]:has(.chart > img)").last
    expect(figure.locator("h3")).to_be_visible()
    page.emulate_media(media="print")
    expect(figure.locator("img")).to_be_visible()
    expect(figure.locator("h3")).to_be_hidden()


def test_a_click_leads_to_a_trial_and_back(page: Any) -> None:
    page.get_by_role("link", name="r01-0064mb-sequential-vcsp", exact=True).click()
    dialog = page.locator("#trial")
    dialog.locator("svg.marks").wait_for()
    for expected in ("Valid.", "MIGRATION completed", "vcpu quota (%)", "downtime (ms)", "qemu", "schedstat"):
        expect(dialog).to_contain_text(expected)
    expect(page).to_have_url(re.compile("#trial=r01-0064mb-sequential-vcsp$"))
    page.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    expect(page).not_to_have_url(re.compile("#trial"))


def test_an_address_leads_to_a_trial_and_its_reasons_are_text(page: Any) -> None:
    page.evaluate(f"location.hash = '#trial={INVALID}'")
    dialog = page.locator("#trial")
    dialog.locator("svg.marks").wait_for()
    expect(dialog).to_contain_text(f"Not valid: {HOSTILE}")
    expect(dialog.locator("img, script")).to_have_count(0)
    page.go_back()
    expect(dialog).to_be_hidden()


@pytest.mark.parametrize("name", ["nowhere", "%"])
def test_an_address_of_no_trial_opens_nothing(page: Any, name: str) -> None:
    # Listeners are called in the order of their registration: when this one is, the page's own has returned.
    page.evaluate(
        """hash => new Promise(done => {
            addEventListener("hashchange", done, {once: true});
            location.hash = hash;
        }).then(() => {})""",
        f"#trial={name}",
    )
    expect(page.locator("#trial")).to_be_hidden()


def test_the_filter_chooses_methods_and_workloads(page: Any) -> None:
    _charts(page)
    page.get_by_label("vcsp", exact=True).uncheck()
    page.get_by_label("64 MB sequential work 4").first.uncheck()
    expect(page.locator("#count")).to_have_text("9 of 24 trials shown.")
    expect(page.locator("#trials tbody tr:visible")).to_have_count(9)
    expect(page.locator("#table3 tr[data-method=vcsp]:visible")).to_have_count(0)
    downtime = page.locator(DOWNTIME)
    downtime.scroll_into_view_if_needed()
    # Marks of three methods in the one window that is left.
    expect(page.locator(f"{DOWNTIME} .mark-symbol.role-mark path")).to_have_count(3)
    throughput = page.locator("figure[data-file='figure6_throughput.svg']")
    throughput.scroll_into_view_if_needed()
    throughput.get_by_text("8 MB sequential work 4, medians of 3 trials").wait_for()
    heatmap = page.locator("figure[data-file='request_heatmap.svg']")
    heatmap.scroll_into_view_if_needed()
    heatmap.get_by_text("Nothing to draw of the chosen methods and workloads.").wait_for()
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("#count")).to_have_text("24 of 24 trials shown.")


def test_pointing_at_a_mark_tells_its_values(page: Any) -> None:
    _charts(page)
    figure = page.locator(DOWNTIME)
    figure.scroll_into_view_if_needed()
    figure.locator(".mark-symbol.role-mark path").first.hover()
    tooltip = page.locator("#vg-tooltip-element.visible")
    for expected in ("post-copy", "mean (ms)", "95 % interval from", "trials"):
        expect(tooltip).to_contain_text(expected)


def test_ctrl_and_the_wheel_zoom(page: Any) -> None:
    _charts(page)
    figure = page.locator(DOWNTIME)
    figure.scroll_into_view_if_needed()
    labels = figure.locator(".role-axis-label").last
    before = labels.text_content()
    figure.locator(".mark-symbol.role-mark path").first.hover()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -600)
    page.keyboard.up("Control")
    page.wait_for_function(
        f'before => [...document.querySelectorAll("{DOWNTIME} .role-axis-label")].at(-1).textContent !== before',
        arg=before,
    )
