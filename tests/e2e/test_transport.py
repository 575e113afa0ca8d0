"""The strip's transport in a real browser: what is drawn follows the place in the run, and nothing is drawn anew."""

import pytest

pytest.importorskip("playwright.sync_api", reason="see test_browser.py")

from playwright.sync_api import Locator, expect

from tests.e2e.server import Pace, Watched
from tests.e2e.test_browser import assert_clean, press, set_number
from tests.e2e.test_browser import pytestmark as pytestmark

PAINTED = """canvas => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let painted = 0;
    for (let at = 3; at < data.length; at += 4) painted += data[at] > 0;
    return painted;
}"""  # pixels of the heatmaps that something was drawn on


def part(watched: Watched, name: str) -> Locator:
    return watched.page.locator(f'[data-testid="transport-{name}"]')


def wait_for_tokens(watched: Watched, count: int) -> None:
    expect(watched.page.locator('[data-testid="token"]')).to_have_count(count)


def wait_for_more_tokens(watched: Watched, count: int) -> None:
    watched.page.locator('[data-testid="token"]').nth(count - 1).wait_for()


def wait_until_held(watched: Watched) -> None:
    watched.page.wait_for_selector('[data-testid="transport"][data-playing="false"]')


def leave_fields(watched: Watched) -> None:
    watched.page.locator('[data-testid="run-status"]').click()


def painted(watched: Watched) -> int:
    return watched.page.locator('[data-testid="heatmaps"]').evaluate(PAINTED)


def counter(watched: Watched, name: str) -> str:
    return watched.page.locator(f'[data-testid="counter-{name}"]').inner_text()


def test_scrubbing_a_recorded_run_takes_tokens_heatmaps_and_counters_along(
    watched: Watched,
) -> None:
    total = watched.num_tokens()
    before = (painted(watched), counter(watched, "depth"), counter(watched, "kv"))
    watched.token(3).evaluate("node => { node.markedByTest = true }")
    slider = part(watched, "slider")
    slider.fill("10")
    prompt = watched.page.locator('[data-testid="token"][data-phase="prefill"]').count()
    wait_for_tokens(watched, prompt + 11)  # the prompt, ten tokens, and the newest without a depth
    assert watched.token(prompt + 10).get_attribute("data-depth") == ""
    assert watched.page.locator(".token.pending").count() == 1
    after = (painted(watched), counter(watched, "depth"), counter(watched, "kv"))
    assert after[0] < before[0]
    assert after[1] != before[1]
    assert after[2] != before[2]
    slider.press("End")
    wait_for_tokens(watched, total)
    assert (painted(watched), counter(watched, "depth"), counter(watched, "kv")) == before
    assert watched.token(3).evaluate("node => node.markedByTest === true")
    slider.press("Home")
    wait_for_tokens(watched, prompt + 1)
    assert_clean(watched)


def test_keys_step_and_play_a_recorded_run(watched: Watched) -> None:
    total = watched.num_tokens()
    keyboard = watched.page.keyboard
    leave_fields(watched)
    for expected in (total - 1, total - 2):
        keyboard.press("ArrowLeft")
        wait_for_tokens(watched, expected)
    keyboard.press("ArrowRight")
    wait_for_tokens(watched, total - 1)
    keyboard.press(" ")  # goes on
    wait_for_tokens(watched, total)
    part(watched, "speed-three").click()
    leave_fields(watched)
    keyboard.press(" ")  # from the beginning
    prompt = watched.page.locator('[data-testid="token"][data-phase="prefill"]').count()
    wait_for_more_tokens(watched, prompt + 3)
    keyboard.press(" ")
    wait_until_held(watched)
    held = watched.num_tokens()
    assert held < total, "it was under way"
    watched.page.wait_for_timeout(700)
    assert watched.num_tokens() == held, "a pause holds the picture"
    assert_clean(watched)


def test_pause_holds_the_display_of_a_live_run_and_not_the_model(slow: Watched, pace: Pace) -> None:
    set_number(slow, "New tokens", "300")
    part(slow, "speed-ten").click()
    press(slow, "Run")
    slow.wait_for_status("running")
    slow.page.wait_for_selector('[data-testid="token"][data-phase="decode"]')
    slow.token(1).evaluate("node => { node.markedByTest = true }")
    part(slow, "play").click()
    wait_until_held(slow)
    held = slow.num_tokens()
    assert slow.status() == "running"
    pace.lift()
    slow.wait_for_status("done")
    assert slow.num_tokens() == held, "the run went on, the picture did not"
    assert slow.page.locator(".token.pending").count() == 1
    part(slow, "newest").click()
    slow.drawn()
    where = part(slow, "where").inner_text().split()
    assert slow.num_tokens() == int(where[-1]) > held
    assert slow.token(1).evaluate("node => node.markedByTest === true"), "one mount a run"
    assert_clean(slow)


@pytest.mark.parametrize("field", ["Prompt", "Seed"])
def test_keys_typed_into_a_field_move_nothing(watched: Watched, field: str) -> None:
    total = watched.num_tokens()
    if field == "Seed":
        watched.page.get_by_text("Checkpoint and sampling").click()
    watched.page.get_by_label(field, exact=True).focus()
    for key in ("ArrowLeft", " ", "ArrowRight"):
        watched.page.keyboard.press(key)
    watched.page.wait_for_timeout(300)
    assert watched.num_tokens() == total
    assert_clean(watched)
