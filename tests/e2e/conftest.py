"""One browser and one server for all browser tests; a fresh page for each."""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.e2e.server import Watched

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    from tests.e2e.server import serve

    with serve("app/asgi.py") as address:
        yield address


@pytest.fixture(scope="module")
def plain_address() -> Iterator[str]:
    """The app without the event route, as plain `streamlit run app/main.py` starts it."""
    from tests.e2e.server import serve

    with serve("app/main.py") as address:
        yield address


@pytest.fixture
def watched(browser: "Browser", address: str) -> "Iterator[Watched]":
    from tests.e2e.server import open_page

    watched = open_page(browser, address)
    yield watched
    watched.page.close()
