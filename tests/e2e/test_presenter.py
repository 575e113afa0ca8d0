"""Presenter mode in a real browser: keys, the black screen, hidden words, and what stands in for a silent model."""

import re

import pytest

pytest.importorskip("playwright.sync_api", reason="see test_browser.py")

from playwright.sync_api import Browser, expect

from tests.e2e.server import Watched, open_page
from tests.e2e.test_browser import assert_clean, press, set_number
from tests.e2e.test_browser import pytestmark as pytestmark


@pytest.fixture
def stage(browser: Browser, address: str):
    watched = open_page(browser, f"{address}/?present=1")
    watched.page.locator('[data-testid="run-status"]').click()
    yield watched
    watched.page.close()


def wait_for_tokens(watched: Watched, count: int) -> None:
    expect(watched.page.locator('[data-testid="token"]')).to_have_count(count)


def test_slide_clicker_runs_and_moves_and_b_blanks(stage: Watched) -> None:
    keyboard = stage.page.keyboard
    expect(stage.page.locator(".st-key-live_preflight")).to_contain_text("recorded run is ready")
    expect(stage.page.locator('[data-testid="inspector"]')).not_to_be_visible()
    keyboard.press("PageDown")
    stage.wait_for_status("running", "done")
    expect(stage.page.locator(".st-key-live_preflight")).not_to_be_visible()
    stage.page.locator('[data-testid="token"][data-phase="decode"]').nth(3).wait_for()
    keyboard.press("PageUp")
    stage.page.wait_for_selector('[data-testid="transport"][data-playing="false"]')
    held = stage.num_tokens()
    keyboard.press("PageUp")
    wait_for_tokens(stage, held - 1)
    keyboard.press("PageDown")
    wait_for_tokens(stage, held)
    blank = stage.page.locator('[data-testid="blank"]')
    keyboard.press("b")
    expect(blank).to_be_visible()
    keyboard.press("PageUp")
    keyboard.press("b")
    expect(blank).not_to_be_visible()
    wait_for_tokens(stage, held)
    stage.token(1).click()
    expect(stage.page.locator('[data-testid="inspector"]')).to_be_visible()
    assert_clean(stage)


def test_listed_words_are_blocks_on_the_stage_alone(stage: Watched) -> None:
    page = stage.page
    page.get_by_label("Prompt", exact=True).fill("The gypsy saw a gypsum box, and the Gypsies")
    set_number(stage, "New tokens", "1")
    press(stage, "Run")
    stage.wait_for_status("done")
    strip = page.locator('[data-testid="token-strip"]')
    expect(page.locator('[data-testid="hidden-words"]')).to_contain_text("2 words of this run")
    tokens = page.locator('[data-testid="token"]')

    def shown() -> str:
        return "".join(tokens.locator(".text").all_inner_texts())

    assert "gypsum" in shown().replace("␣", " ")
    assert "▇▇▇▇▇ " in shown().replace("␣", " ")
    assert "▇▇▇▇▇▇▇" in shown()
    labels = " ".join(node.get_attribute("aria-label") or "" for node in tokens.all())
    assert "ypsies" not in shown() + labels
    assert "gypsy" not in shown() + labels
    page.locator(".st-key-live_present button").first.click()
    expect(strip).not_to_have_class("mor-strip present")
    stage.drawn()
    assert "The gypsy saw" in shown().replace("␣", " ")
    expect(page).not_to_have_url(re.compile("present"))
    assert_clean(stage)


STREAM = "text/event-stream"
SILENCE = """data: {"from": 0, "events": [], "status": {"name": "running", "ahead": 0, "message": ""}}

"""


def test_silent_model_is_replaced_by_a_recorded_run_until_it_speaks(
    browser: Browser, address: str
) -> None:
    stage = open_page(browser, f"{address}/?present=1")
    page = stage.page
    page.route("**/mor/stream/**", lambda route: route.fulfill(body=SILENCE, content_type=STREAM))
    recorded = stage.num_tokens()
    press(stage, "Run")
    page.locator('[data-testid="stall-button"]').click()
    badge = page.locator('[data-testid="run-status"] .badge')
    expect(badge).to_have_text("RECORDED")
    page.locator('[data-testid="transport-slider"]').press("End")
    wait_for_tokens(stage, recorded)
    page.locator('[data-testid="stall-button"]').click()
    expect(badge).to_have_text("LIVE")
    wait_for_tokens(stage, 0)
    page.close()


def test_listed_words_are_blocks_in_a_comparison_too(browser: Browser, address: str) -> None:
    stage = open_page(browser, f"{address}/?present=1")
    page = stage.page
    page.get_by_label("Prompt", exact=True).fill("The gypsies sat down.")
    set_number(stage, "New tokens", "2")
    press(stage, "Run")
    stage.wait_for_status("done")
    page.get_by_text("What if?").click()
    page.locator(".st-key-whatif_run button").first.click()
    page.locator(".st-key-whatif_compare label").first.click()
    pieces = page.locator('[data-testid="piece"]')
    expect(pieces.first).to_be_visible()
    shown = "".join(pieces.all_inner_texts())
    assert "▇▇▇" in shown
    assert "ypsies" not in shown.replace("\n", "")
    page.close()
