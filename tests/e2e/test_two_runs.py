"""Compare and Race in a real browser: runs under each other, and two that grow at the same time."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="see test_browser.py")

from playwright.sync_api import Browser, Page, expect

from mor_core.traces.trace import TRACE_SUFFIX
from mor_core.traces.trace_file import load_trace
from tests.e2e.server import Watched, open_page
from tests.e2e.test_browser import assert_clean, set_number
from tests.e2e.test_browser import pytestmark as pytestmark

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
FIGURES = ("tokens", "flops", "kv", "seconds")


def compare(watched: Watched) -> Page:
    watched.page.get_by_text("Compare", exact=True).first.click()
    watched.page.wait_for_selector('[data-testid="piece"]')
    return watched.page


def choose_run(page: Page, side: str, name: str) -> None:
    field = page.locator(f".st-key-compare_{side} input")
    field.fill(name)
    field.press("Enter")
    page.wait_for_function(f"location.search.includes('compare_{side}=')")
    # The run before it stays drawn until the new one comes.
    checkpoint, _, prompt = name.partition("/")
    title = load_trace(CHECKPOINTS / checkpoint / "traces" / f"{prompt}{TRACE_SUFFIX}").header.title
    head = page.locator('[data-testid="pair"] .head').nth("ab".index(side))
    expect(head.locator(".name")).to_contain_text(f"{checkpoint} · ")
    expect(head).to_contain_text(title)


def race(watched: Watched) -> Page:
    watched.page.get_by_text("Race", exact=True).click()
    watched.page.wait_for_selector('[data-testid="lane-1"] [data-testid="pair-token"]')
    return watched.page


WATCH = """figures => {
    window.raceSamples = [];
    setInterval(() => {
        const race = [...document.querySelectorAll("*")].map(node => node.shadowRoot)
            .find(root => root?.querySelector('[data-testid="race"] .badge[data-badge="LIVE"]'));
        if (!race) return;
        const rows = figures.flatMap(
            name => [...race.querySelectorAll(`[data-testid="race-${name}"] .tile-row`)]);
        window.raceSamples.push(rows.map(row => Number(row.dataset.value)));
    }, 20);
}"""


def counters_while(page: Page, act: Callable[[], None]) -> list[list[float]]:
    """Both runs' value of every counter, many times a second while `act` ran.

    The page itself keeps them: a reading from here may come after the faster run has ended.
    """
    page.evaluate(WATCH, FIGURES)
    act()
    samples: list[list[float]] = page.evaluate("window.raceSamples")
    return samples


def statuses(page: Page) -> list[str]:
    lanes = [page.locator(f'[data-testid="lane-{side}"]') for side in (0, 1)]
    return [lane.get_attribute("data-status") or "" for lane in lanes]


def wait_for(page: Page, holds: Callable[[list[str]], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds(statuses(page)):
        assert time.monotonic() < end, statuses(page)
        page.wait_for_timeout(50)


def watch_a_race(watched: Watched, length: int) -> None:
    """Race to so many tokens: both grow at once in one mount, and every counter of both advances."""
    page = race(watched)
    set_number(watched, "New tokens", str(length))
    first = page.locator('[data-testid="lane-0"] [data-position="1"]')

    def run_to_the_end() -> None:
        page.locator(".st-key-race_start button").click()
        page.wait_for_selector('[data-testid="race"] .badge[data-badge="LIVE"]')
        for side in (0, 1):
            lane = page.locator(f'[data-testid="lane-{side}"]')
            lane.evaluate("node => { node.markedByTest = true }")
        wait_for(page, lambda found: set(found) <= {"running", "done"})
        first.evaluate("node => { node.markedByTest = true }")
        wait_for(page, lambda found: found == ["done", "done"])
        page.wait_for_function(
            f"() => window.raceSamples.at(-1).slice(0, 2).every(tokens => tokens === {length})"
        )

    samples = counters_while(page, run_to_the_end)
    assert any(0 < mine < length and 0 < theirs < length for mine, theirs, *_ in samples)
    for counter in zip(*samples, strict=True):
        assert len(set(counter)) > 2, counter
        assert counter[-1] == max(counter), counter
    for side in (0, 1):
        lane = page.locator(f'[data-testid="lane-{side}"]')
        assert lane.evaluate("node => node.markedByTest === true"), "one mount a race"
        assert lane.locator('[data-testid="pair-token"].pending').count() == 1
    assert first.evaluate("node => node.markedByTest === true"), "a token is drawn once"
    page.wait_for_selector(".st-key-race_start button:enabled")
    assert_clean(watched)


def test_race_advances_both_counters_in_one_mount(slow: Watched) -> None:
    watch_a_race(slow, 60)
    page = slow.page
    page.locator(".st-key-race_compare button").click()
    page.wait_for_selector('[data-testid="pair-parting"][data-diverges="true"]')
    assert page.locator('[data-testid="pair"] .badge').inner_text() == "LIVE"
    assert_clean(slow)


def test_race_without_the_event_route(browser: Browser, plain_address: str) -> None:
    watched = open_page(browser, plain_address)
    watch_a_race(watched, 300)  # the browser asks once in half a second or less often
    watched.page.close()


def test_stop_ends_both_runs_of_a_race(slow: Watched) -> None:
    page = race(slow)
    set_number(slow, "New tokens", "400")
    page.locator(".st-key-race_start button").click()
    wait_for(page, lambda found: found == ["running", "running"])
    page.locator(".st-key-race_stop button").click()
    wait_for(page, lambda found: found == ["cancelled", "cancelled"])
    assert_clean(slow)


def test_compare_marks_where_recorded_texts_part(watched: Watched) -> None:
    page = compare(watched)
    choose_run(page, "a", "stories-vanilla/01-a-little-rabbit")
    choose_run(page, "b", "stories-demo/01-a-little-rabbit")
    page.wait_for_selector('[data-testid="pair-parting"][data-diverges="true"]')
    pieces = page.locator('[data-testid="piece"]')
    shared = pieces.count()
    parting = page.locator('[data-testid="pair-parting"]')
    assert "diverge" in parting.inner_text()
    rests = page.locator('[data-testid="pair-rests"] .rest')
    firsts = [rests.nth(side).locator(".token .text").first.inner_text() for side in (0, 1)]
    assert firsts[0] != firsts[1]
    for index in range(shared):
        rows = pieces.nth(index).locator(".row")
        assert (
            rows.nth(0).locator(".text").all_inner_texts()
            == rows.nth(1).locator(".text").all_inner_texts()
        )
    shown: list[Any] = pieces.evaluate_all(
        """cells => cells.map(cell => [
            Number(cell.dataset.difference), cell.querySelector(".difference").textContent,
            ...[...cell.querySelectorAll(".digit")].map(node => Number(node.textContent))])"""
    )
    assert len(shown) == shared > 0
    for difference, text, ours, theirs in shown:
        assert difference == theirs - ours
        assert text == (f"+{difference}" if difference > 0 else str(difference).replace("-", "−"))
    assert any(row[0] for row in shown)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert_clean(watched)


def test_compare_explains_a_piece_and_keys_move_the_pin(watched: Watched) -> None:
    page = compare(watched)
    detail = page.locator('[data-testid="pair-detail"]')
    page.locator('[data-testid="piece"]').nth(2).click()
    page.mouse.move(2, 2)
    assert detail.get_attribute("data-piece") == "2"
    for expected in ("position 2", "depth", "probability", "B − A"):
        assert expected in detail.inner_text()
    page.keyboard.press("ArrowRight")
    assert detail.get_attribute("data-piece") == "3"
    page.keyboard.press("Escape")
    assert detail.get_attribute("data-piece") == ""
    assert_clean(watched)


def test_link_of_a_comparison_opens_it_again(watched: Watched, browser: Browser) -> None:
    page = compare(watched)
    page.get_by_text("Depth, A against B", exact=True).click()
    choose_run(page, "a", "stories-vanilla/08-names")
    choose_run(page, "b", "stories-demo/08-names")
    other = browser.new_page()
    other.goto(page.url)
    other.wait_for_selector("[data-testid=stPlotlyChart]", timeout=60_000)
    lines = other.locator('[data-testid="pair-lines"]').inner_text()
    other.close()
    assert lines.count("Peter") == 2 * lines.count("Jane") == 4
