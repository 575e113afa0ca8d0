"""Links to a view: which recorded run, and what is shown of it. Ids and numbers only, never a viewer's text."""

import re
from dataclasses import replace

import streamlit as st

from app.components.view_state import NAMES, ViewState, view_from

RUN = "run"
_RUN = re.compile(r"([\w.-]{1,80})/([\w.-]{1,80})")


def asked_run() -> tuple[str, str] | None:
    """Return the checkpoint and the recorded run that the link names."""
    found = _RUN.fullmatch(st.query_params.get(RUN, ""))
    return (found[1], found[2]) if found else None


def view_of_run(checkpoint: str | None, run: str | None) -> ViewState:
    """Return what the link says is shown; pins and window belong to the run that it names alone."""
    asked = view_from({name: st.query_params.get(name, "") for name in NAMES})
    if run is not None and asked_run() in (None, (checkpoint, run)):
        return asked
    return replace(asked, pins="", window=None)


def remember(checkpoint: str | None, run: str | None, view: ViewState) -> None:
    """Put a recorded run and its view into the link.

    Args:
        checkpoint: of the run.
        run: name of its file; `None` for a text of the viewer or an uploaded file, which no link can name.
        view: what is shown.
    """
    wanted = view.parameters
    if run is None:
        wanted = replace(view, pins="", window=None).parameters
    else:
        wanted[RUN] = f"{checkpoint}/{run}"
    for name in (RUN, *NAMES):
        if name in wanted and st.query_params.get(name) != wanted[name]:
            st.query_params[name] = wanted[name]
        elif name not in wanted and name in st.query_params:
            del st.query_params[name]
