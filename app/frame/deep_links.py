"""Routes for the addresses of single pages that tell the browser where the server is.

Opened at `/explore`, Streamlit's page first looks for a server below that path, fails twice and reports two errors in
the console. With the server's address in the page, it skips that search.
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
    """Return one route per page."""
    return [Route(f"/{name}", _index, methods=["GET"]) for name in names]


async def _index(_: Request) -> Response:
    page = _INDEX.read_text(encoding="utf-8").replace("<head>", f"<head>{_SCRIPT}", 1)
    return HTMLResponse(page, headers={"Cache-Control": "no-cache"})
