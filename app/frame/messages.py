"""Messages and downloads for several pages. Text from users and files is escaped, never rendered as Markdown."""

import re
from pathlib import Path

import streamlit as st

from app.runs import resources
from app.text.error_messages import problem_text
from app.text.words import say
from mor_core.traces.trace import TRACE_SUFFIX, Trace
from mor_core.traces.trace_file import TraceError, pack_trace

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!$:~<>|])")


def as_text(message: str) -> str:
    """Escape characters that Markdown would read as markup."""
    return _MARKDOWN.sub(r"\\\1", message)


def show_error(message: str) -> None:
    """Show an error message."""
    st.error(as_text(message), icon=":material/error:")


def show_problem(error: Exception, name: str = "") -> None:
    """Show an exception in the viewer's language, prefixed with the name of the file or thing it concerns."""
    show_error(f"{name}: {problem_text(error)}" if name else problem_text(error))


def opened_trace(path: Path) -> Trace | None:
    """Return a recorded run; for a damaged file, show the problem and return `None`."""
    try:
        return resources.open_trace(path)
    except TraceError as error:
        show_problem(error, path.name)
        return None


def opened_traces(folder: Path) -> list[Trace]:
    """Return a checkpoint's recorded runs; for each damaged file, show the problem and leave it out."""
    opened = map(opened_trace, resources.recorded_traces(folder))
    return [trace for trace in opened if trace is not None]


def show_warning(message: str) -> None:
    """Show a warning: something is wrong, but the page works."""
    st.warning(as_text(message), icon=":material/warning:")


def trace_download(trace: Trace, *, key: str, name: str = "") -> None:
    """Draw the button that downloads a run as a trace file, which is written when the button is pressed.

    Args:
        trace: the run.
        key: the button's key.
        name: the run's name, if the page has several.
    """
    header = trace.header
    st.download_button(
        f"{say('frame.download_trace')} {name}".strip(),
        lambda: pack_trace(trace),
        file_name=f"{header.checkpoint}-{header.created[:19].replace(':', '')}{TRACE_SUFFIX}",
        mime="application/gzip",
        icon=":material/download:",
        key=key,
        on_click="ignore",
    )


def show_info(message: str) -> None:
    """Show a note, such as what to do when there is nothing to show."""
    st.info(as_text(message).replace("\\`", "`"), icon=":material/info:")
