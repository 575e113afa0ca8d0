"""Addresses of single pages, answered so that the browser knows where the server is.

Streamlit's page takes `/explore` for a server below that path first, asks it twice in vain and reports two errors in
the console. Told where its server is, it asks nothing but that.
"""

from collections.abc import Iterable
from pathlib import Path

import streamlit
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

_SCRIPT = "<script>window.__streamlit = {BACKEND_BASE_URL: window.location.origin};</script>"
_INDEX = Path(streamlit.__file__).parent / "static" / "index.html"


def page_routes(names: Iterable[str]) -> list[Route]:
    """Return a route for the address of each page."""
    return [Route(f"/{name}", _index, methods=["GET"]) for name in names]


async def _index(_: Request) -> Response:
    page = _INDEX.read_text(encoding="utf-8").replace("<head>", f"<head>{_SCRIPT}", 1)
    return HTMLResponse(page, headers={"Cache-Control": "no-cache"})
