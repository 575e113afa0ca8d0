"""The server that `make app` and `mor app` start: Streamlit around `main.py`, with the event route beside it."""

import os
import sys
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from app.stream import STREAM_ROUTE  # noqa: E402

os.environ["MOR_STREAM"] = (
    "1"  # tells the pages, which run in this process, that the route is there
)

app = st.App(ROOT / "app" / "main.py", routes=[STREAM_ROUTE])
