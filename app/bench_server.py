"""The app, with generation held to a given rate and a note of when each token was known: what `mor bench ui` measures.

MOR_BENCH names a folder. Its file `rate` holds tokens a second, 0 for as fast as it goes; `known` gets a line a token:
its position and the wall clock in milliseconds.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # this file is run by its path, not as part of a package
    sys.path.insert(0, str(ROOT))

from mor_core.traces import events  # noqa: E402
from mor_core.traces.trace import StepRecord, TokenRecord, TraceHeader  # noqa: E402

FOLDER = Path(os.environ["MOR_BENCH"])
_describe = events.tokens_event
_last = [0.0]


def paced(
    header: TraceHeader,
    completed: Sequence[TokenRecord],
    newest: TokenRecord | None,
    steps: Sequence[StepRecord],
) -> events.Event:
    """Wait until the token is due, note it, and describe it as the app does."""
    if newest is not None:
        rate = float((FOLDER / "rate").read_text() or 0)
        if rate:
            time.sleep(max(0.0, _last[0] + 1 / rate - time.monotonic()))
        _last[0] = time.monotonic()
        with (FOLDER / "known").open("a") as file:
            file.write(f"{newest.position} {time.time() * 1000:.3f}\n")
    return _describe(header, completed, newest, steps)


events.tokens_event = paced

from app.asgi import lifespan  # noqa: E402
from app.runs.stream import STREAM_ROUTE  # noqa: E402

app = st.App(ROOT / "app" / "main.py", routes=[STREAM_ROUTE], lifespan=lifespan)
