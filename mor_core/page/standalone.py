"""Writes a run as one self-contained HTML file, drawn by the strip's own modules without any server."""

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
        language: of the page, one of those in `words`.
        html_language: its HTML language code, such as `zh-Hans`.
        words: the strip's texts.
        colours: depth colour scales as #rrggbb, by number of levels.
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
    """Return JSON that is safe inside a script element, since it escapes every `<`."""
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c")
