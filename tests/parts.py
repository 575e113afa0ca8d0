"""What a page has drawn, the header's own parts left out."""

import json
from typing import Any

from streamlit.testing.v1 import AppTest


def components(page: AppTest) -> list[Any]:
    """Return the browser components of a page, in order."""
    return [part for part in page.get("bidi_component") if "copied" not in _data(part)]


def _data(part: Any) -> dict[str, Any]:
    return json.loads(part.proto.json) if part.proto.json else {}
