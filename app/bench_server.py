"""The rate-limited server: the app with a limited token rate and a log of token times, which `mor bench ui` measures.

MOR_BENCH names a folder. Its file `rate` holds the tokens per second, 0 for no limit. The server appends one line per
token to `known`: the token's position and the wall clock in milliseconds.
"""

import os
import sys
import time
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # the file is run by its path, not as a module of a package
    sys.path.insert(0, str(ROOT))

from app.asgi import lifespan  # noqa: E402
from app.runs.jobs import job_manager  # noqa: E402
from app.runs.stream import STREAM_ROUTE  # noqa: E402
from mor_core.traces.trace_updates import TraceUpdate  # noqa: E402


class RateLimiter:
    """Delays each new token until it is due, and logs its time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._last = 0.0

    def __call__(self, update: TraceUpdate) -> None:
        """Wait until the update's newest token is due, and log its position and time."""
        if update.newest is None:
            return
        rate = float((self.folder / "rate").read_text() or 0)
        if rate:
            time.sleep(max(0.0, self._last + 1 / rate - time.monotonic()))
        self._last = time.monotonic()
        with (self.folder / "known").open("a") as file:
            file.write(f"{update.newest.position} {time.time() * 1000:.3f}\n")


job_manager().on_update = RateLimiter(Path(os.environ["MOR_BENCH"]))

app = st.App(ROOT / "app" / "main.py", routes=[STREAM_ROUTE], lifespan=lifespan)
