"""A lesson in a real browser, led by keys: tokens are picked by click and key, and no step is left without a guess."""

import re

import pytest

pytest.importorskip("playwright.sync_api", reason="see test_browser.py")

from playwright.sync_api import Locator, expect

from tests.e2e.server import Watched
from tests.e2e.test_browser import assert_clean
from tests.e2e.test_browser import pytestmark as pytestmark


def token(watched: Watched, position: int) -> Locator:
    return watched.page.locator(
        f'[data-testid="lesson-token"][data-position="{position}"]:visible'
    ).first


def expect_place(watched: Watched, lesson: int, step: int) -> None:
    expect(watched.page).to_have_url(re.compile(rf"lesson={lesson}&step={step}(&|$)"))
    current = watched.page.locator('[data-testid="lesson-step"][aria-current="step"]')
    expect(current).to_have_text(("Read", "Predict", "Reveal", "Try", "Check")[step - 1])


def wait_until_next(watched: Watched, state: str) -> None:
    """Wait until the button that a key presses is there and `enabled` or `disabled`."""
    watched.page.locator(f".st-key-learn_next button:{state}").wait_for()


def test_keys_lead_through_a_lesson_and_tokens_are_picked(watched: Watched) -> None:
    page = watched.page
    page.get_by_role("link", name="Learn").click()
    expect_place(watched, 1, 1)
    wait_until_next(watched, "enabled")
    page.keyboard.press("PageDown")
    expect_place(watched, 1, 2)
    token(watched, 10).wait_for()
    wait_until_next(watched, "disabled")
    page.keyboard.press("PageDown")  # no guess yet
    page.wait_for_timeout(500)
    expect_place(watched, 1, 2)

    token(watched, 10).click()
    token(watched, 3).click()
    token(watched, 4).focus()
    page.keyboard.press("Space")
    expect(token(watched, 4)).to_have_attribute("aria-pressed", "true")
    token(watched, 3).click()
    expect(token(watched, 3)).to_have_attribute("aria-pressed", "false")
    page.get_by_text("Picked 2 of at most 8").wait_for()
    assert token(watched, 10).locator(".digit").inner_text() == "?", "no depth before the reveal"
    wait_until_next(watched, "enabled")
    page.keyboard.press("PageDown")
    expect_place(watched, 1, 3)
    page.get_by_text("You picked 2 and").wait_for()
    expect(token(watched, 10)).to_have_attribute("data-depth", "3")
    expect(token(watched, 10)).to_have_attribute("data-mark", "hit")
    expect(token(watched, 4)).to_have_attribute("data-mark", "miss")
    expect(token(watched, 10).locator(".digit")).to_have_text("3✓")

    page.keyboard.press("ArrowRight")
    expect_place(watched, 1, 4)
    page.keyboard.press("ArrowLeft")
    expect_place(watched, 1, 3)
    page.locator('[data-testid="lesson-step"]', has_text="Check").click()
    expect_place(watched, 1, 5)
    page.get_by_text("From a second file").click()
    page.get_by_text("There is no second file").wait_for()
    page.get_by_text("From nowhere").click()
    page.get_by_text("1 of 6 check questions").wait_for()
    page.keyboard.press("PageDown")  # from within the answers
    expect_place(watched, 2, 1)
    page.keyboard.press("PageUp")
    expect_place(watched, 1, 5)
    assert_clean(watched)


def test_clicker_moves_on_and_not_the_slider(watched: Watched) -> None:
    page = watched.page
    page.get_by_role("link", name="Learn").click()
    expect_place(watched, 1, 1)
    page.get_by_text("4 Two caches").click()
    expect_place(watched, 4, 1)
    wait_until_next(watched, "enabled")
    page.keyboard.press("PageDown")
    expect_place(watched, 4, 2)
    slider = page.get_by_role("slider")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    watched.sent()
    expect_place(watched, 4, 2)
    wait_until_next(watched, "enabled")
    page.keyboard.press("PageDown")
    expect_place(watched, 4, 3)
    page.get_by_text("Your prediction: 3").wait_for()
    assert_clean(watched)
