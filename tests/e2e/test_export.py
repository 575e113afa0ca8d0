"""Pictures of a run from a real browser: they hold every token, and ask nobody."""

import re
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="see test_browser.py")

from playwright.sync_api import Browser, expect

from tests.e2e.server import Watched, new_page
from tests.e2e.test_browser import assert_clean, press, set_number
from tests.e2e.test_browser import pytestmark as pytestmark


def saved(watched: Watched, button: str, folder: Path) -> bytes:
    with watched.page.expect_download() as waiting:
        watched.page.locator(button).first.click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path.read_bytes()


def test_pictures_and_page_hold_the_run(watched: Watched, browser: Browser, tmp_path: Path) -> None:
    page = watched.page
    page.get_by_label("Prompt", exact=True).fill("The fox & the <hen>")
    set_number(watched, "New tokens", "6")
    press(watched, "Run")
    watched.wait_for_status("done")
    shown = page.locator('[data-testid="token"] .text').all_inner_texts()
    svg = saved(watched, '[data-testid="picture-svg"]', tmp_path).decode()
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert "&lt;" in "".join(texts)
    plain = [text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for text in texts]
    assert [text for text in plain if text in shown][: len(shown)]
    assert set(shown) <= set(plain)
    png = saved(watched, '[data-testid="picture-png"]', tmp_path)
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == 2400
    html = saved(watched, ".st-key-live_download_html button", tmp_path)
    (tmp_path / "run.html").write_bytes(html)
    alone = new_page(browser)
    asked: list[str] = []
    alone.on("request", lambda request: asked.append(request.url))
    alone.goto((tmp_path / "run.html").as_uri())
    tokens = alone.locator('[data-testid="token"]')
    expect(tokens).to_have_count(len(shown))
    assert tokens.locator(".text").all_inner_texts() == shown
    alone.keyboard.press("ArrowLeft")
    expect(tokens).to_have_count(len(shown) - 1)
    assert [url for url in asked if not url.startswith("file:")] == []
    alone.close()
    assert_clean(watched)


def test_text_far_from_the_training_language_gets_a_note(watched: Watched) -> None:
    page = watched.page
    note = page.locator('[data-testid="foreign-note"]')
    expect(note).not_to_be_visible()
    page.get_by_label("Prompt", exact=True).fill("从前有一只小兔子")
    set_number(watched, "New tokens", "2")
    press(watched, "Run")
    watched.wait_for_status("done")
    expect(note).to_contain_text("single bytes")
    assert_clean(watched)
