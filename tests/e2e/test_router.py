"""The Router page's threshold in a real browser: the finding follows it, and so does the link."""

import re

import pytest

pytest.importorskip("playwright.sync_api", reason="see test_browser.py")

from playwright.sync_api import Page, expect

from tests.e2e.server import Watched
from tests.e2e.test_browser import assert_clean
from tests.e2e.test_browser import pytestmark as pytestmark

FINDING = re.compile(
    r"With the threshold at logit \+2\.00 \(score 0\.881\), (\d+) of the \d+ decisions "
    r"at recursion 2 would flip: 0 tokens would enter, (\d+) would be skipped\."
)


def finding(page: Page) -> re.Match[str]:
    line = page.get_by_text(FINDING)
    line.wait_for()
    found = FINDING.search(line.inner_text())
    assert found is not None
    return found


def test_moved_threshold_names_who_would_change_and_the_link_keeps_it(watched: Watched) -> None:
    page = watched.page
    page.get_by_role("link", name="Router").click()
    page.get_by_text("From the checkpoint's config.json.").wait_for()
    assert page.get_by_text("no decision changes").count() == 1
    page.locator(".st-key-threshold_2").evaluate("node => { node.markedByTest = true }")
    thumb = page.locator(".st-key-threshold_2 input")
    thumb.focus()
    for _ in range(8):  # steps of a quarter of a logit
        page.keyboard.press("ArrowRight")
    changed = finding(page)
    assert int(changed[1]) == int(changed[2]) > 0
    legend = page.locator(".st-key-moved .legendtext")
    expect(legend.filter(has_text=f"would be skipped ({changed[2]})")).to_have_count(1)
    assert page.locator(".st-key-threshold_2").evaluate("node => node.markedByTest === true")
    expect(page).to_have_url(re.compile("threshold_2=2"))
    assert_clean(watched)

    page.goto(page.url)  # as another viewer opens the link
    assert finding(page)[0] == changed[0]
    expect(page.locator(".st-key-threshold_2 input")).to_have_value("2")
    assert_clean(watched)
    assert watched.foreign_requests == []
