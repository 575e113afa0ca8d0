"""Starts the app and a browser that measures it: paint times, requests, traffic and console errors.

Playwright and Chromium are optional; without them an error says how to install them.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
_START_S = 90
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--enable-precise-memory-info",
)

# Records every shadow root, to find the strip inside; once per frame it notes new tokens after they have been painted.
_WATCH = """(() => {
    const roots = [document];
    const attach = Element.prototype.attachShadow;
    Element.prototype.attachShadow = function (...options) {
        const root = attach.apply(this, options);
        roots.push(root);
        return root;
    };
    const watch = window.morBench = { painted: {}, mounts: 0, strip: null, status: "" };
    const find = (selector) => {
        for (const root of roots) {
            if (root !== document && !root.host.isConnected) continue;
            const found = root.querySelector(selector);
            if (found) return found;
        }
        return null;
    };
    watch.find = find;
    const frame = () => {
        const strip = find('[data-testid="run-status"]');
        if (strip) watch.status = strip.dataset.status;
        if (strip && strip.querySelector('.badge[data-badge="LIVE"]')) {
            if (strip !== watch.strip) { watch.strip = strip; watch.mounts += 1; }
            const fresh = [];
            for (const token of strip.getRootNode().querySelectorAll('[data-testid="token"]')) {
                const at = token.dataset.position;
                if (!(at in watch.painted)) { watch.painted[at] = 0; fresh.push(at); }
            }
            if (fresh.length) setTimeout(() => fresh.forEach((at) => { watch.painted[at] = Date.now(); }), 0);
        }
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
})();"""
_STOP = """() => new Promise((resolve) => {
    const pressed = performance.now();
    const look = () => window.morBench.find('[data-testid="run-status"]').dataset.status === "cancelled"
        ? resolve(performance.now() - pressed) : requestAnimationFrame(look);
    document.querySelector(".st-key-live_stop button").click();
    look();
})"""


@contextmanager
def serve(script: str, **environment: str) -> Iterator[tuple[str, int]]:
    """Start a script of the app on a free port, and yield its address and its process id.

    Raises:
        ValueError: the app does not start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / script)]
    command += [f"--server.port={port}", "--server.headless=true"]
    variables = {name: value for name, value in os.environ.items() if name != "MOR_STREAM"}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=variables | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(address, process)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextmanager
def chromium() -> "Iterator[Browser]":
    """Start Chromium.

    Raises:
        ValueError: Chromium or Playwright is not installed.
    """
    found = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise ValueError(
            'playwright is not installed; install it with: pip install "mor-explorer[dev]"'
        ) from error
    if found is None:
        raise ValueError("no Chromium was found; install it (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(_FLAGS))
        yield browser
        browser.close()


@dataclass
class Viewer:
    """One page of the app and its measurements.

    Attributes:
        page: Playwright's page.
        paint_s: seconds from requesting the page to the recorded run's tokens on the screen.
        console_errors: errors in the browser's console.
        foreign_requests: URLs requested from other hosts.
        socket_bytes: bytes in both directions over Streamlit's WebSocket.
    """

    page: "Page"
    paint_s: float = 0.0
    console_errors: list[str] = field(default_factory=list)
    foreign_requests: list[str] = field(default_factory=list)
    socket_bytes: int = 0

    def run(self) -> None:
        """Press Run as soon as it is enabled, and wait until the run streams."""
        self.page.wait_for_selector(".st-key-live_run button:enabled", timeout=120_000)
        self.page.evaluate(
            "() => { morBench.painted = {}; morBench.mounts = 0; morBench.strip = null; }"
        )
        self.page.locator(".st-key-live_run button").click()
        self.wait_for("running", "done")

    def wait_for(self, *statuses: str) -> None:
        """Wait for a status of this viewer's own run."""
        live = ':has(.badge[data-badge="LIVE"])'
        parts = [f'[data-testid="run-status"][data-status="{name}"]{live}' for name in statuses]
        self.page.wait_for_selector(", ".join(parts), timeout=300_000)

    def wait_for_tokens(self, count: int) -> None:
        """Wait until `count` tokens of this run have been painted."""
        self.page.wait_for_function(
            f"() => Object.values(morBench.painted).filter(Boolean).length >= {count}",
            timeout=120_000,
        )

    def stop(self) -> float:
        """Press Stop and return the seconds until the page shows that the run has stopped."""
        return float(self.page.evaluate(_STOP)) / 1000

    def painted(self) -> dict[int, float]:
        """Return the time at which each position's token was painted, in wall-clock milliseconds."""
        found: dict[str, float] = self.page.evaluate("() => morBench.painted")
        return {int(position): at for position, at in found.items() if at}

    def mounts(self) -> int:
        """Return how many strips have been mounted since Run was pressed."""
        return int(self.page.evaluate("() => morBench.mounts"))

    def heap_bytes(self) -> int:
        """Return the size of the page's JavaScript heap after a garbage collection."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("HeapProfiler.collectGarbage")
        session.detach()
        return int(self.page.evaluate("() => performance.memory.usedJSHeapSize"))


@contextmanager
def view(browser: "Browser", address: str) -> Iterator[Viewer]:
    """Open the app in a new browser context with an empty cache, and measure it."""
    context = browser.new_context(viewport={"width": 1280, "height": 1400})
    page = context.new_page()
    page.add_init_script(_WATCH)
    viewer = Viewer(page)
    host = urlsplit(address).netloc

    def on_request(request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != host:
            viewer.foreign_requests.append(request.url)

    def on_frame(payload: Any) -> None:
        viewer.socket_bytes += len(payload)

    def on_socket(socket_: Any) -> None:
        socket_.on("framereceived", on_frame)
        socket_.on("framesent", on_frame)

    def on_message(message: Any) -> None:
        if message.type == "error":
            viewer.console_errors.append(message.text)

    page.on("console", on_message)
    page.on("pageerror", lambda error: viewer.console_errors.append(str(error)))
    page.on("request", on_request)
    page.on("websocket", on_socket)
    started = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_selector('[data-testid="token"]', timeout=120_000)
    viewer.paint_s = time.perf_counter() - started
    try:
        yield viewer
    finally:
        context.close()


def _wait_until_up(address: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise ValueError(f"the app was not up after {_START_S} s; start it with `mor app` to see why")
