"""Starts the real app on a free port, and opens pages that record console errors and foreign requests."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page

from tests.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
ALL_DRAWN = (
    "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))"
)
ALL_SENT = "() => new Promise(done => setTimeout(done, 500))"  # widgets delay changes by 200 ms


@contextmanager
def serve(script: str, **variables: str) -> Iterator[str]:
    """Start `script` with Streamlit as a user would, and yield its address."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("MOR_STREAM", None)
    # An unread pipe would fill up and block the server.
    with tempfile.TemporaryFile("w+") as output:
        process, address = _start(script, environment | variables, output)
        try:
            yield address
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(
    script: str, environment: dict[str, str], output: IO[str]
) -> "tuple[subprocess.Popen[str], str]":
    for _ in range(3):  # another process may take the free port before the app does
        process, address = _on_free_port(script, environment, output)
        if _is_up(address, process):
            return process, address
        process.kill()
        process.wait()
    output.seek(0)
    raise AssertionError(f"the app did not start:\n{output.read()}")


def _on_free_port(
    script: str, environment: dict[str, str], output: IO[str]
) -> "tuple[subprocess.Popen[str], str]":
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        script,
        f"--server.port={port}",
        "--server.headless=true",
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
    )
    return process, f"http://127.0.0.1:{port}"


def _is_up(address: str, process: "subprocess.Popen[str]") -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=10):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False


@dataclass
class Pace:
    """Sets the token rate of `app/bench_server.py`, in tokens per second."""

    folder: Path

    def limit(self, rate: float) -> None:
        (self.folder / "rate").write_text(str(rate))

    def lift(self) -> None:
        self.limit(0)


@dataclass
class Watched:
    """A page with its console errors, its requests to other hosts, and its web socket's bytes in both directions."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    foreign_requests: list[str] = field(default_factory=list)
    socket_bytes: int = 0

    def token(self, position: int) -> Any:
        return self.page.locator(f'[data-testid="token"][data-position="{position}"]')

    def num_tokens(self) -> int:
        return self.page.locator('[data-testid="token"]').count()

    def badge(self) -> str:
        return self.page.locator('[data-testid="run-status"] .badge').inner_text()

    def status(self) -> str:
        return self.page.locator('[data-testid="run-status"]').get_attribute("data-status") or ""

    def drawn(self) -> None:
        """Wait until the page has drawn the last input: it handles a click at once and draws in the next frame."""
        self.page.evaluate(ALL_DRAWN)

    def sent(self) -> None:
        """Wait until the page has sent its widgets' changes, which it delays for a moment."""
        self.page.evaluate(ALL_SENT)

    def wait_for_status(self, *names: str, seconds: float = PATIENCE_S) -> None:
        """Wait for this viewer's own run, not the recorded run that the page draws first."""
        live = ':has(.badge[data-badge="LIVE"])'
        choices = ", ".join(
            f'[data-testid="run-status"][data-status="{name}"]{live}' for name in names
        )
        self.page.wait_for_selector(choices, timeout=1000 * seconds)


def new_page(browser: Browser, height: int = 1400) -> Page:
    """Open an empty page with timeouts that suffice on a busy machine."""
    page = browser.new_page(viewport={"width": 1280, "height": height})
    page.set_default_timeout(1000 * PATIENCE_S)
    return page


def open_page(browser: Browser, address: str) -> Watched:
    """Open the app and record every console error and every request to another host."""
    page = new_page(browser)
    watched = Watched(page)
    host = urlsplit(address).netloc

    def on_request(request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != host:
            watched.foreign_requests.append(request.url)

    def on_frame(payload: Any) -> None:
        watched.socket_bytes += len(payload)

    def on_socket(socket_: Any) -> None:
        socket_.on("framereceived", on_frame)
        socket_.on("framesent", on_frame)

    page.on(
        "console",
        lambda message: (
            watched.complaints.append(message.text) if message.type == "error" else None
        ),
    )
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    page.on("request", on_request)
    page.on("websocket", on_socket)
    page.goto(address)
    page.wait_for_selector('[data-testid="token"]')
    return watched
