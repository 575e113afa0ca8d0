"""A finished run as files: trace, CSV, and a page of its own without a network. Pictures come from the strip itself."""

import streamlit as st

from app.components import strip
from app.frame import messages
from app.runs import session
from app.tables.trace_tables import to_csv, token_table
from app.text.words import say, say_in
from mor_core.page.standalone import standalone_page
from mor_core.traces.trace import Trace


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
            lambda: exported_page(trace, language),
            file_name=f"{name}.html",
            mime="text/html",
            icon=":material/download:",
            key=f"{key}_html",
            on_click="ignore",
            help=say("live.download_page_help"),
        )


def exported_page(trace: Trace, language: str) -> str:
    """Return the HTML of a page of its own that draws a run, in a language and in the viewer's colours."""
    return standalone_page(
        trace,
        language,
        say_in(language, "language.html_lang"),
        strip.words(),
        strip.depth_scales(),
    )
