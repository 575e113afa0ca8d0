"""The server that `make app` and `mor app` start: Streamlit with `main.py`, the event route and the page addresses."""

import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # the file is run by its path, not as a module of a package
    sys.path.insert(0, str(ROOT))

from app.frame.deep_links import page_routes  # noqa: E402
from app.frame.header import ICONS  # noqa: E402
from app.runs.stream import STREAM_ROUTE  # noqa: E402
from mor_core.common.log_levels import silence_import_warnings  # noqa: E402

silence_import_warnings()

os.environ["MOR_STREAM"] = (
    "1"  # tells the pages, which run in this process, that the event route exists
)


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
    """Load the default model in the background, so that the first Run need not wait for it."""
    from app.runs import resources  # its caches need the running server

    threading.Thread(target=resources.warm_up, name="mor-warm-up", daemon=True).start()
    yield {}


app = st.App(
    ROOT / "app" / "main.py", routes=[STREAM_ROUTE, *page_routes(ICONS)], lifespan=lifespan
)
