"""Starts the real app on a free port, and a browser that notes what must not happen."""

import os
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
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
START_S = 60


@contextmanager
def serve(script: str) -> Iterator[str]:
    """Start `script` under Streamlit as a user would, and yield its address."""
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
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("MOR_STREAM", None)
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(address, process)
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _wait_until_up(address: str, process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise AssertionError(f"the app did not start:\n{process.communicate()[0]}")
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"the app was not up after {START_S} s")


@dataclass
class Watched:
    """A page, what its console complained about, which other hosts it asked, and its web socket's bytes, both ways."""

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

    def wait_for_status(self, *names: str, seconds: float = 60) -> None:
        """Wait for this viewer's own run; the recorded one that is drawn first is always done."""
        live = ':has(.badge[data-badge="LIVE"])'
        choices = ", ".join(
            f'[data-testid="run-status"][data-status="{name}"]{live}' for name in names
        )
        self.page.wait_for_selector(choices, timeout=1000 * seconds)


def open_page(browser: Browser, address: str) -> Watched:
    """Open the app and note every console error and every request to another host."""
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
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
    page.wait_for_selector('[data-testid="token"]', timeout=60_000)
    return watched
