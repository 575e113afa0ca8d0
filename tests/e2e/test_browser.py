"""The app in a real browser, with the bundled checkpoint: what an audience would see."""

import os
import re
import time

import pytest

from tests.e2e.conftest import CHROMIUM

MUST_RUN = os.environ.get("MOR_REQUIRE_BROWSER") == "1"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None and not MUST_RUN,
        reason="no chromium on this machine; install it (Debian: apt-get install chromium) to run the browser tests",
    ),
]
if not MUST_RUN:
    pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; see requirements-dev.txt"
    )

from playwright.sync_api import Browser, Locator, expect  # noqa: E402

from app.style.palettes import MAX_LEVELS, depth_colours  # noqa: E402
from tests.e2e.server import Pace, Watched, open_page  # noqa: E402

STOP_AND_WAIT = """node => new Promise(resolve => {
    const pressed = performance.now();
    const look = () => ["cancelled", "done"].includes(node.dataset.status)
        ? resolve([node.dataset.status, performance.now() - pressed]) : requestAnimationFrame(look);
    document.querySelector(".st-key-live_stop button").click();
    look();
})"""  # how it ended and after how many milliseconds, measured in the page
NOTE_THE_RUN = """() => {
    const seen = window.seenByTest = { counts: [], mounts: [], first: null };
    const inStrip = (root, selector) => root.querySelectorAll(`[data-testid="token-strip"] ${selector}`);
    const isLive = root => root && inStrip(root, '.badge[data-badge="LIVE"]').length;
    let root = null;
    const look = () => {
        requestAnimationFrame(look);
        if (!root?.host.isConnected) root = [...document.querySelectorAll("*")].map(n => n.shadowRoot).find(isLive);
        if (!root) return;
        if (!seen.mounts.includes(root)) seen.mounts.push(root);
        const tokens = inStrip(root, '[data-testid="token"]');
        seen.isSame = seen.first === tokens[1];
        if (!tokens.length || !inStrip(root, '[data-status="running"]').length) return;
        if (tokens.length !== seen.counts.at(-1)) seen.counts.push(tokens.length);
        seen.first ??= tokens[1];
    };
    look();
}"""  # the page notes it in every frame: between two looks of the test a run may begin and end

OVERTAKEN = """async (strip, colours) => {
    const files = performance.getEntriesByType("resource").map(entry => entry.name);
    const { default: render } = await import(files.find(name => /token_strip[^/]*[.]js$/.test(name)));
    const drawn = { run: strip.dataset.run, language: "en", present: false, live: false, badge: "RECORDED" };
    const data = { ...drawn, colours, batch: null, stream: null, tools: null };
    const nothing = () => {};
    render({ data, parentElement: strip.getRootNode(), setStateValue: nothing, setTriggerValue: nothing })();
}"""  # what Streamlit does with a change of data when another comes before the component's code is there


def button(watched: Watched, name: str) -> Locator:
    return watched.page.locator(f".st-key-live_{name.lower()} button")


def press(watched: Watched, name: str) -> None:
    button(watched, name).click()


def wait_until_run_can_be_pressed(watched: Watched) -> None:
    watched.page.wait_for_selector(".st-key-live_run button:enabled")


def set_number(watched: Watched, label: str, value: str) -> None:
    settings = watched.page.get_by_text("Checkpoint and sampling")
    settings.click()
    field = watched.page.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Enter")
    settings.click()  # closed, it covers nothing
    field.wait_for(state="detached")


def assert_clean(watched: Watched) -> None:
    assert watched.complaints == []
    assert watched.foreign_requests == []


def watch_a_run(watched: Watched) -> None:
    """Run a prompt of 300 new tokens, let the page note how it grows, and check what it shows."""
    page = watched.page
    assert watched.badge() == "RECORDED"
    strip = page.locator('[data-testid="token-strip"]')
    strip.evaluate("node => { node.markedByTest = true }")
    set_number(watched, "New tokens", "300")
    page.evaluate(NOTE_THE_RUN)
    press(watched, "Run")
    watched.wait_for_status("done")
    watched.drawn()
    seen = "[seenByTest.counts, seenByTest.isSame, seenByTest.mounts.length]"
    counts, is_same, mounts = page.evaluate(seen)
    assert counts, "the run was seen under way"
    assert counts[0] < watched.num_tokens(), "tokens arrive while one looks"
    assert is_same, f"a token is drawn once a run, got {mounts} mounts and tokens {counts}"
    assert watched.badge() == "LIVE"
    assert strip.evaluate("node => node.markedByTest === true"), "one mount a page"
    decoded = page.locator('[data-testid="token"][data-phase="decode"]')
    depths = decoded.evaluate_all("nodes => nodes.map(node => node.dataset.depth)")
    assert {"1", "2", "3"} <= set(depths)
    digits = decoded.evaluate_all("nodes => nodes.map(node => node.lastChild.textContent)")
    assert [depth or "?" for depth in depths] == digits, "depth is never colour alone"
    assert "tokens/s" in page.locator('[data-testid="counter-rate"]').inner_text()
    wait_until_run_can_be_pressed(watched)
    assert_clean(watched)


def test_run_streams_and_all_depths_appear(watched: Watched) -> None:
    watch_a_run(watched)


def test_run_without_the_event_route(browser: Browser, plain_address: str) -> None:
    watched = open_page(browser, plain_address)
    watch_a_run(watched)
    before = watched.socket_bytes
    press(watched, "Run")
    watched.wait_for_status("running")
    watched.wait_for_status("done")
    wait_until_run_can_be_pressed(watched)
    assert watched.num_tokens() > 300
    assert watched.socket_bytes - before < 1024 * watched.num_tokens()
    watched.page.close()


@pytest.mark.parametrize("answers", [True, False], ids=["refused", "silent"])
def test_run_goes_on_where_a_proxy_keeps_the_events(watched: Watched, answers: bool) -> None:
    """One proxy refuses the event route, another never passes on what it is sent."""
    watched.page.route(
        "**/mor/stream/**", lambda route: route.fulfill(status=404) if answers else None
    )
    set_number(watched, "New tokens", "60")
    press(watched, "Run")
    watched.wait_for_status("done")
    assert watched.num_tokens() > 60
    wait_until_run_can_be_pressed(watched)


def test_streaming_costs_the_page_no_reruns(slow: Watched, pace: Pace) -> None:
    pace.limit(100)
    set_number(slow, "New tokens", "200")
    press(slow, "Run")
    slow.wait_for_status("running")
    before = slow.socket_bytes
    slow.wait_for_status("done")
    assert slow.socket_bytes - before < 50_000


def test_stop_ends_the_run_and_keeps_the_tokens(slow: Watched) -> None:
    """Within half a second, of which a loaded machine gets five times as much."""
    set_number(slow, "New tokens", "400")
    press(slow, "Run")
    slow.wait_for_status("running")
    slow.page.wait_for_selector('[data-testid="token"][data-phase="decode"]')
    status, milliseconds = slow.page.locator('[data-testid="run-status"]').evaluate(STOP_AND_WAIT)
    assert status == "cancelled"
    assert milliseconds < 5 * 500
    count = slow.num_tokens()
    time.sleep(0.5)
    assert slow.num_tokens() == count > 1
    wait_until_run_can_be_pressed(slow)
    assert_clean(slow)


def test_another_widget_does_not_end_a_run(slow: Watched, pace: Pace) -> None:
    set_number(slow, "New tokens", "300")
    press(slow, "Run")
    slow.wait_for_status("running")
    set_number(slow, "Seed", "7")
    slow.sent()
    assert slow.status() == "running"
    count = slow.num_tokens()
    pace.lift()
    slow.wait_for_status("done")
    assert slow.num_tokens() > count
    assert_clean(slow)


def test_pinned_token_is_explained_and_keys_move_it(watched: Watched) -> None:
    page = watched.page
    inspector = page.locator('[data-testid="inspector"]')
    watched.token(5).click()
    page.mouse.move(2, 2)
    expect(inspector).to_have_attribute("data-position", "5")
    expect(inspector).to_contain_text("pinned")
    shown = inspector.inner_text()
    for expected in ("pinned", "recursions", "R1", "logit", "kept in", "probability"):
        assert expected in shown
    page.keyboard.press("j")
    page.wait_for_selector('[data-testid="inspector"][data-position="6"]')
    page.keyboard.press("k")
    page.keyboard.press("k")
    page.wait_for_selector('[data-testid="inspector"][data-position="4"]')
    page.keyboard.press("Escape")
    page.wait_for_selector('[data-testid="inspector"][data-position=""]')
    assert_clean(watched)


def test_change_that_another_overtakes_leaves_the_strip_as_it_is(watched: Watched) -> None:
    colours = {str(levels): depth_colours(levels) for levels in range(1, MAX_LEVELS + 1)}
    watched.page.locator('[data-testid="token-strip"]').evaluate(OVERTAKEN, colours)
    total = watched.num_tokens()
    watched.page.locator('[data-testid="run-status"]').click()
    watched.page.keyboard.press("j")
    inspector = watched.page.locator('[data-testid="inspector"]')
    expect(inspector).to_have_attribute("data-position", "0")
    assert watched.num_tokens() == total > 1
    assert_clean(watched)


def test_click_on_a_heatmap_pins_that_position(watched: Watched) -> None:
    canvas = watched.page.locator('[data-testid="heatmaps"]')
    box = canvas.bounding_box()
    assert box is not None
    column = watched.page.locator('[data-testid="heatmaps"]').evaluate(
        "node => node.clientWidth"
    ) / max(watched.num_tokens(), 1)
    canvas.click(position={"x": column * 3.5, "y": 60})
    watched.page.mouse.move(2, 2)
    expect(watched.token(3)).to_have_class(re.compile(r"\bpinned\b"))
    assert_clean(watched)


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [("", "must not be empty"), ("   ", "must not be empty"), ("word " * 20_000, "at most")],
    ids=["empty", "blank", "100,000 characters"],
)
def test_bad_prompt_gets_a_message_and_the_app_stays_up(
    watched: Watched, prompt: str, shown: str
) -> None:
    field = watched.page.get_by_label("Prompt", exact=True)
    field.fill(prompt)
    press(watched, "Run")
    watched.page.get_by_text(shown).wait_for()
    field.fill("Once upon a time")
    press(watched, "Run")
    watched.wait_for_status("done", "running")
    assert_clean(watched)


def test_markup_and_control_characters_are_shown_as_text(watched: Watched) -> None:
    page = watched.page
    page.get_by_label("Prompt", exact=True).fill(
        '<script>window.broken = 1</script><img src=x onerror="window.broken = 1">\x01 and'
    )
    set_number(watched, "New tokens", "4")
    press(watched, "Run")
    watched.wait_for_status("done")
    assert page.evaluate("window.broken") is None
    text = "".join(
        page.locator('[data-testid="token"][data-phase="prefill"] .text').all_inner_texts()
    )
    assert "script" in text
    assert "<0x01>" in text
    assert_clean(watched)


def test_switching_the_language_translates_the_strip_where_it_stands(watched: Watched) -> None:
    watched.token(1).evaluate("node => { node.markedByTest = true }")
    said = watched.token(1).get_attribute("aria-label") or ""
    depth = said.removesuffix(" of 3")[-1]
    assert depth in "123", said
    switch = watched.page.locator(".st-key-header_language button").first
    switch.click()
    watched.page.get_by_text("运行", exact=True).first.wait_for()
    watched.page.get_by_text("递归深度", exact=True).first.wait_for()
    expect(watched.page.locator('[data-testid="counter-rate"]')).to_contain_text("词元/秒")
    expect(watched.token(1)).to_have_attribute("aria-label", re.compile(f"深度 {depth} / 3$"))
    assert watched.token(1).evaluate("node => node.markedByTest === true"), "nothing is drawn anew"
    expect(watched.page).to_have_url(re.compile("lang=zh"))
    switch.click()
    watched.page.get_by_text("Recursion depth", exact=True).first.wait_for()
    assert_clean(watched)


def test_escape_closes_the_settings_and_leaves_run_and_pins_alone(slow: Watched) -> None:
    page = slow.page
    expect(button(slow, "Stop")).to_contain_text("Alt")
    set_number(slow, "New tokens", "2000")
    press(slow, "Run")
    slow.wait_for_status("running")
    slow.token(1).click()
    page.get_by_text("Checkpoint and sampling").click()
    field = page.get_by_label("New tokens", exact=True)
    field.wait_for()
    page.keyboard.press("Escape")
    field.wait_for(state="detached")
    slow.sent()
    assert slow.status() == "running"
    expect(page.locator('[data-testid="inspector"]')).to_contain_text("pinned")
    page.keyboard.press("Escape")
    expect(page.locator('[data-testid="inspector"]')).not_to_contain_text("pinned")
    slow.sent()
    assert slow.status() == "running", "nothing else is open, and still Escape is not Stop's key"
    page.get_by_label("Prompt").focus()  # one can stop while one types
    page.keyboard.press("Alt+Enter")
    slow.wait_for_status("cancelled")
    assert_clean(slow)
