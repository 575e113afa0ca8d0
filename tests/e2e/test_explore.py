"""Explore in a real browser: metrics, units, filters, several pins, the window of a long run, the link to a view."""

import copy
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mor_core.traces.trace import Alternative
from mor_core.traces.trace_file import save_trace
from tests.scripted import DEPTHS, scripted_trace

pytestmark = pytest.mark.browser

LONG = 2048
WINDOWS = [[start, min(start + 512, LONG)] for start in range(0, LONG - 256, 256)]


def open_run(browser: Any, address: str, query: str = "") -> Any:
    from tests.e2e.server import new_page

    page = new_page(browser, height=1500)
    page.goto(f"{address}/explore?run=stories-demo/01-a-little-rabbit{query}")
    page.wait_for_selector('[data-testid="token"]')
    return page


@pytest.fixture(scope="module")
def page(browser: Any, address: str) -> Iterator[Any]:
    page = open_run(browser, address)
    yield page
    page.close()


@pytest.fixture(autouse=True)
def as_at_first(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave the shared page as the next test expects it."""
    yield
    if "page" in request.fixturenames:
        page = request.getfixturevalue("page")
        for choice in ("clear", "metric-depth", "by-token"):
            if page.locator(f'[data-choice="{choice}"]').count():
                choose(page, choice)
        page.keyboard.press("Escape")


def drawn(page: Any) -> None:
    """Wait until the page has drawn what it has taken in."""
    from tests.e2e.server import ALL_DRAWN

    page.evaluate(ALL_DRAWN)


def choose(page: Any, choice: str) -> None:
    page.locator(f'[data-choice="{choice}"]').click()
    drawn(page)


def pin(page: Any, position: int, *modifiers: str) -> None:
    token(page, position).click(modifiers=modifiers)
    page.mouse.move(2, 2)  # what is hovered comes before what is pinned
    drawn(page)


def token(page: Any, position: int) -> Any:
    return page.locator(f'[data-testid="token"][data-position="{position}"]')


def digits(page: Any) -> list[str]:
    tokens = page.locator('[data-testid="token"]')
    found: list[str] = tokens.evaluate_all("nodes => nodes.map(node => node.lastChild.textContent)")
    return found


def test_the_text_shows_another_metric_without_being_drawn_anew(page: Any) -> None:
    token(page, 3).evaluate("node => { node.markedByTest = true }")
    depths = digits(page)
    shown = {}
    for metric in ("score", "surprise", "prediction", "kept"):
        choose(page, f"metric-{metric}")
        page.wait_for_selector(f'[data-choice="metric-{metric}"][aria-pressed="true"]')
        shown[metric] = digits(page)
    assert set(depths) == {"1", "2", "3", "?"}
    assert all(re.fullmatch(r"\.\d\d|1\.00|–", digit) for digit in shown["score"])
    assert shown["surprise"][0] == "–", "the first token was given"
    known = [(d, p) for d, p in zip(depths, shown["prediction"], strict=True) if p != "–"]
    assert len(known) == len(depths) - 1
    assert all(int(p) <= int(d) for d, p in known)
    assert any(p < d for d, p in known)
    assert set(shown["kept"]) <= {"4", "6", "8", "–"}
    assert token(page, 3).evaluate("node => node.markedByTest === true")
    choose(page, "metric-score")
    before = digits(page)
    choose(page, "metric-score-3")
    assert digits(page) != before


def test_words_and_lines_show_the_mean_of_their_tokens(page: Any) -> None:
    depths = [int(digit) for digit in digits(page)[:-1]]
    choose(page, "by-word")
    words = page.locator('[data-testid="token"]')
    texts = words.evaluate_all("nodes => nodes.map(node => node.firstChild.textContent)")
    assert len(texts) < len(depths)
    assert all("␣" not in text[1:] for text in texts)
    starts = words.evaluate_all("nodes => nodes.map(node => Number(node.dataset.position))")
    first, after = next(
        (start, end) for start, end in itertools.pairwise(starts) if end - start > 2
    )
    mean = sum(depths[first:after]) / (after - first)
    assert float(digits(page)[starts.index(first)]) == pytest.approx(mean, abs=0.051)
    choose(page, "by-line")
    assert words.count() < len(texts)


def test_filters_say_how_many_tokens_they_leave(page: Any) -> None:
    depths = digits(page)
    choose(page, "depth-3")
    note = page.locator('[data-testid="filter-count"]')
    assert note.inner_text() == f"{depths.count('3')} of {len(depths)} tokens"
    left = page.locator('[data-testid="token"]:not(.out)')
    assert left.count() == depths.count("3")
    choose(page, "differs")
    assert 0 < left.count() < depths.count("3")
    choose(page, "clear")
    page.locator('[data-choice="class"]').select_option(label="punctuation")
    drawn(page)
    texts = left.evaluate_all("nodes => nodes.map(node => node.firstChild.textContent)")
    assert texts
    assert not any(character.isalnum() for character in "".join(texts))


def test_up_to_five_pins_keep_their_letters(page: Any) -> None:
    pin(page, 4)
    for position in (7, 9, 12, 15, 18):
        pin(page, position, "Shift")
    pins = page.locator("[data-pin]")
    marks = "nodes => nodes.map(node => node.dataset.pin + node.dataset.position)"
    assert pins.evaluate_all(marks) == ["A4", "B7", "C9", "D12", "E15"], "a sixth is not taken"
    pin(page, 9, "Shift")
    assert pins.evaluate_all(marks) == ["A4", "B7", "D12", "E15"]
    pin(page, 18, "Shift")
    assert pins.evaluate_all(marks) == ["A4", "B7", "D12", "E15", "C18"]
    row = page.locator('[data-testid="pin-table"] tr').nth(1)
    assert row.inner_text().split() == ["Position", "4", "7", "18", "12", "15"]
    page.keyboard.press("Escape")
    drawn(page)
    assert pins.count() == 0
    assert page.locator('[data-testid="pin-table"]').count() == 0


def test_the_inspector_shows_early_exits_and_what_can_be_attended_to(page: Any) -> None:
    position = next(at for at, digit in enumerate(digits(page)) if digit == "3" and at > 20)
    pin(page, position)
    lens = page.locator('[data-testid="lens"]')
    assert "untrained" in lens.inner_text()
    assert lens.locator(".lens-row").count() == 3
    assert lens.locator(".candidate").count() == 9
    rows = page.locator('[data-testid="attend"] .attend-row')
    counts = [int(re.findall(r"(\d+) of", text)[0]) for text in rows.all_inner_texts()]
    assert counts[0] == position + 1
    assert counts == sorted(counts, reverse=True)
    rows.nth(2).click()
    page.mouse.move(2, 2)
    drawn(page)
    marked = page.locator('[data-testid="token"].attended')
    assert marked.count() == counts[2]
    assert set(marked.evaluate_all("nodes => nodes.map(node => node.dataset.depth)")) == {"3"}
    rows.nth(2).click()


def test_a_link_brings_back_what_was_seen(browser: Any, address: str) -> None:
    page = open_run(browser, address, "&metric=score-3&by=token&pins=A5.B12")
    page.wait_for_selector('[data-choice="metric-score-3"][aria-pressed="true"]')
    marks = "nodes => nodes.map(node => node.dataset.pin + node.dataset.position)"
    page.wait_for_selector("[data-pin]")
    assert page.locator("[data-pin]").evaluate_all(marks) == ["A5", "B12"]
    choose(page, "metric-kept")
    choose(page, "by-word")
    page.wait_for_url(re.compile(r"metric=kept"))
    page.wait_for_url(re.compile(r"by=word"))
    assert "rabbit%20" not in page.url
    page.close()


def test_a_cell_of_the_grid_pins_its_token_and_the_grid_stays(browser: Any, address: str) -> None:
    page = open_run(browser, address)
    page.locator(".st-key-explore_view").get_by_text("Heatmaps").click()
    grid = page.locator('.st-key-depth_grid [data-testid="stVegaLiteChart"]')
    cell = grid.locator('path[aria-label*="position: 28; recursion: 1;"]')
    cell.wait_for()
    grid.locator("svg").evaluate("node => { node.markedByTest = true }")
    inspector = page.locator('[data-testid="inspector"]')
    for position in (28, 40, 28):
        grid.locator(f'path[aria-label*="position: {position}; recursion: 1;"]').click()
        page.wait_for_selector(f'[data-testid="inspector"][data-position="{position}"]')
        page.wait_for_url(re.compile(f"pins=A{position}"))
        page.mouse.move(2, 2)
    pin(page, 5)  # in the text, then the same cell of the grid again
    page.wait_for_url(re.compile("pins=A5"))
    cell.click()
    page.wait_for_selector('[data-testid="inspector"][data-position="28"]')
    assert "pinned" in inspector.inner_text()
    assert grid.locator("svg").evaluate("node => node.markedByTest === true")
    page.close()


@pytest.fixture(scope="module")
def long_trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reading of 2,048 tokens in windows, of hand-written records."""
    trace = scripted_trace()
    patterns = trace.tokens
    trace.tokens = [copy.copy(patterns[1 + at % (len(DEPTHS) - 1)]) for at in range(LONG)]
    exit_ = [Alternative(7, " x", 0.5)]
    for at, record in enumerate(trace.tokens):
        record.position, record.phase = at, "prefill"
        record.lens = [exit_] * (record.recursion_depth or 1)
    trace.header.kind, trace.header.lens = "analyse", {"version": 1}
    trace.header.windows = WINDOWS
    trace.steps = []
    path = tmp_path_factory.mktemp("long") / "long.mortrace.json.gz"
    save_trace(trace, path)
    return path


def test_2048_tokens_are_drawn_once_and_window_and_text_follow_each_other(
    browser: Any, address: str, long_trace: Path
) -> None:
    page = open_run(browser, address)
    page.get_by_text("Trace file", exact=True).click()
    page.locator('input[type="file"]').set_input_files(str(long_trace))
    page.wait_for_selector(f'[data-testid="token"][data-position="{LONG - 1}"]')
    tokens = page.locator('[data-testid="token"]')
    assert tokens.count() == LONG
    strip = page.locator('[data-testid="token-strip"]')
    nodes = strip.evaluate("node => node.querySelectorAll('*').length")
    assert nodes < 6 * LONG
    assert page.locator('[data-testid="window-divider"]').count() == len(WINDOWS) - 1
    canvas = page.locator('[data-testid="heatmaps"]')
    assert canvas.evaluate("node => node.clientWidth") <= 256 * 24
    note = page.locator(".overview-note")
    assert re.search(r"1 px = \d+ tokens; column: maximum, dot: mean", note.inner_text())
    strip.evaluate(
        """node => {
            node.markedByTest = true;
            node.made = 0;
            new MutationObserver(records => records.forEach(record => { node.made += record.addedNodes.length }))
                .observe(node.querySelector('[data-part="tokens"]'), { childList: true, subtree: true });
        }"""
    )
    overview = page.locator('[data-testid="overview"]')
    box = overview.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    for step in range(10):
        page.mouse.move(box["x"] + 20 + step * 30, box["y"] + 20)
    page.mouse.up()
    drawn(page)
    start = int(overview.get_attribute("aria-valuenow"))
    assert start > 256
    top = strip.evaluate("node => node.querySelector('[data-part=\"tokens\"]').scrollTop")
    assert top > 300, "the text follows the window"
    page.locator('[data-part="tokens"]').evaluate("node => { node.scrollTop = 0 }")
    page.wait_for_selector('[data-testid="overview"][aria-valuenow="0"]')
    overview.press("End")
    page.wait_for_function(
        "node => Number(node.getAttribute('aria-valuenow')) > 1700", arg=overview.element_handle()
    )
    assert strip.evaluate("node => [node.markedByTest, node.made]") == [True, 0]
    page.close()
