"""The server that `make app` and `mor app` start: Streamlit around `main.py`, with the event route beside it."""

import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # this file is run by its path, not as part of a package
    sys.path.insert(0, str(ROOT))

from app.frame.deep_links import page_routes  # noqa: E402
from app.frame.header import ICONS  # noqa: E402
from app.runs.stream import STREAM_ROUTE  # noqa: E402
from mor_core.common.log_levels import silence_import_warnings  # noqa: E402

silence_import_warnings()

os.environ["MOR_STREAM"] = (
    "1"  # tells the pages, which run in this process, that the route is there
)


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
    """Load the default model while the first viewer reads, so that the first Run waits for nothing."""
    from app.runs import resources  # its caches need the running server

    threading.Thread(target=resources.warm_up, name="mor-warm-up", daemon=True).start()
    yield {}


app = st.App(
    ROOT / "app" / "main.py", routes=[STREAM_ROUTE, *page_routes(ICONS)], lifespan=lifespan
)
