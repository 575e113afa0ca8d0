"""A finished run as files: trace, CSV, and a page of its own without a network. Pictures come from the strip itself."""

import json
from typing import Any

import streamlit as st

from app.components import strip
from app.frame import messages
from app.runs import session
from app.tables.trace_tables import to_csv, token_table
from app.text.words import say
from mor_core.traces.events import recorded_batch, trace_id
from mor_core.traces.trace import Trace

# What the strip takes from Streamlit's theme, for both of the reader's schemes.
_THEME = """:root { color-scheme: light dark; --st-font: system-ui, sans-serif; --st-code-font: ui-monospace, monospace;
  --st-text-color: #31333f; --st-background-color: #ffffff; --st-secondary-background-color: #f4f5f7;
  --st-border-color: #d5d7dd; --st-primary-color: #31688e; }
@media (prefers-color-scheme: dark) { :root { --st-text-color: #f2f3f5; --st-background-color: #14161b;
  --st-secondary-background-color: #22252d; --st-border-color: #454a57; --st-primary-color: #6db3d9; } }
body { margin: 24px; background: var(--st-background-color); color: var(--st-text-color); }"""


def downloads(trace: Trace, *, key: str) -> None:
    """Offer a run as a trace, as a table and as a page.

    Args:
        trace: the run.
        key: of the first button; the others' begin with it.
    """
    header = trace.header
    name = f"{header.checkpoint}-{header.created[:19].replace(':', '')}".replace("/", "-")
    language = session.language()
    with st.container(horizontal=True):
        messages.trace_download(trace, key=key)
        st.download_button(
            say("frame.download_csv"),
            lambda: to_csv(token_table(trace)),
            file_name=f"{name}.csv",
            mime="text/csv",
            icon=":material/download:",
            key=f"{key}_csv",
            on_click="ignore",
        )
        st.download_button(
            say("live.download_page"),
            lambda: standalone_page(trace, language),
            file_name=f"{name}.html",
            mime="text/html",
            icon=":material/download:",
            key=f"{key}_html",
            on_click="ignore",
            help=say("live.download_page_help"),
        )


def standalone_page(trace: Trace, language: str) -> str:
    """Return one HTML file that draws a run with the strip's own code and asks no server for anything."""
    data = {
        "run": trace_id(trace),
        "language": language,
        "present": False,
        "colours": strip.depth_scales(),
        "batch": recorded_batch(trace),
        "stream": None,
        "live": False,
        "badge": "RECORDED",
    }
    script = strip.script().replace("export default function render", "function render")
    return f"""<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>MoR Explorer</title>
<style>
{_THEME}
{strip.style()}
</style>
</head>
<body>
<div id="run">{strip.markup()}</div>
<script type="module">
{script}
const data = {_inline(data)};
render({{ parentElement: document.getElementById("run"), data, setStateValue() {{}}, setTriggerValue() {{}} }});
</script>
</body>
</html>
"""


def _inline(data: dict[str, Any]) -> str:
    """Write JSON that stays data inside a script, whatever the tokens spell."""
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c")
