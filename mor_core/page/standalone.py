"""A run as one HTML file that draws itself with the strip's own modules and asks no server for anything."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mor_core.page.modules import join
from mor_core.page.strip_files import PageWords, markup, style
from mor_core.traces.events import recorded_batch, trace_id
from mor_core.traces.trace import Trace

_FOLDER = Path(__file__).parent


def standalone_page(
    trace: Trace,
    language: str,
    html_language: str,
    words: PageWords,
    colours: Mapping[int, Sequence[str]],
) -> str:
    """Return the HTML of a page that draws a run.

    Args:
        trace: the run.
        language: that the page speaks, one of those in `words`.
        html_language: its HTML code, such as `zh-Hans`.
        words: what the strip says.
        colours: scales of depth as #rrggbb, by the number of their levels.
    """
    data = {
        "run": trace_id(trace),
        "language": language,
        "present": False,
        "colours": colours,
        "batch": recorded_batch(trace),
        "stream": None,
        "live": False,
        "badge": "RECORDED",
    }
    held = {"words": words.texts, "hidden": words.hidden, "data": data}
    return f"""<!doctype html>
<html lang="{html_language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>MoR Explorer</title>
<style>
{_read("standalone.css")}
{style()}
</style>
</head>
<body>
<div id="run">{markup()}</div>
<script type="application/json" id="run-data">{_inline(held)}</script>
<script type="module">
{join(_read("standalone.js"), _FOLDER)}
</script>
</body>
</html>
"""


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _inline(data: dict[str, Any]) -> str:
    """Write JSON that stays data inside a script element, whatever the tokens spell."""
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c")
