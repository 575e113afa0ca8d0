"""Shared by all browser tests: one browser, and one server for each way to start the app. Each test gets a new page."""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.e2e.server import Pace, Watched

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=1000 * PATIENCE_S)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    from tests.e2e.server import serve

    with serve("app/asgi.py") as address:
        yield address


@pytest.fixture(scope="session")
def plain_address() -> Iterator[str]:
    """The app without the event route, as plain `streamlit run app/main.py` starts it."""
    from tests.e2e.server import serve

    with serve("app/main.py") as address:
        yield address


@pytest.fixture(scope="session")
def paced_app(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[tuple[str, Pace]]":
    from tests.e2e.server import Pace, serve

    pace = Pace(tmp_path_factory.mktemp("pace"))
    pace.lift()
    with serve("app/bench_server.py", MOR_BENCH=str(pace.folder)) as address:
        yield address, pace


@pytest.fixture
def pace(paced_app: "tuple[str, Pace]") -> "Iterator[Pace]":
    """Limits the runs of `slow` to a token rate, so that a run is still going when a test looks at it."""
    paced_app[1].limit(30)
    yield paced_app[1]
    paced_app[1].lift()


@pytest.fixture
def slow(browser: "Browser", paced_app: "tuple[str, Pace]", pace: "Pace") -> "Iterator[Watched]":
    """A page whose model writes 30 tokens per second until the test lifts the limit."""
    from tests.e2e.server import open_page

    watched = open_page(browser, paced_app[0])
    yield watched
    watched.page.close()


@pytest.fixture
def watched(browser: "Browser", address: str) -> "Iterator[Watched]":
    from tests.e2e.server import open_page

    watched = open_page(browser, address)
    yield watched
    watched.page.close()
