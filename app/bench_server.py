"""The app, with generation held to a given rate and a note of when each token was known: what `mor bench ui` measures.

MOR_BENCH names a folder. Its file `rate` holds tokens a second, 0 for as fast as it goes; `known` gets a line a token:
its position and the wall clock in milliseconds.
"""

import os
import sys
import time
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # this file is run by its path, not as part of a package
    sys.path.insert(0, str(ROOT))

from app.asgi import lifespan  # noqa: E402
from app.runs.jobs import job_manager  # noqa: E402
from app.runs.stream import STREAM_ROUTE  # noqa: E402
from mor_core.traces.trace_updates import TraceUpdate  # noqa: E402


class Pace:
    """Holds back each new token until it is due, and notes when it is known."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._last = 0.0

    def __call__(self, update: TraceUpdate) -> None:
        """Wait until the update's newest token is due, and note it."""
        if update.newest is None:
            return
        rate = float((self.folder / "rate").read_text() or 0)
        if rate:
            time.sleep(max(0.0, self._last + 1 / rate - time.monotonic()))
        self._last = time.monotonic()
        with (self.folder / "known").open("a") as file:
            file.write(f"{update.newest.position} {time.time() * 1000:.3f}\n")


job_manager().on_update = Pace(Path(os.environ["MOR_BENCH"]))

app = st.App(ROOT / "app" / "main.py", routes=[STREAM_ROUTE], lifespan=lifespan)
