"""Downloads of a finished run: trace, CSV, and a standalone HTML page. The strip itself offers pictures."""

import streamlit as st

from app.components import strip
from app.frame import messages
from app.runs import session
from app.tables.trace_tables import to_csv, token_table
from app.text.words import say, say_in
from mor_core.page.standalone import standalone_page
from mor_core.traces.trace import Trace


def downloads(trace: Trace, *, key: str) -> None:
    """Draw the download buttons for a run's trace, table and standalone page.

    Args:
        trace: the run.
        key: the first button's key and the prefix of the others' keys.
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
            lambda: exported_page(trace, language),
            file_name=f"{name}.html",
            mime="text/html",
            icon=":material/download:",
            key=f"{key}_html",
            on_click="ignore",
            help=say("live.download_page_help"),
        )


def exported_page(trace: Trace, language: str) -> str:
    """Return a standalone HTML page that draws a run, in the given language and the viewer's colours."""
    return standalone_page(
        trace,
        language,
        say_in(language, "language.html_lang"),
        strip.words(),
        strip.depth_scales(),
    )
