"""Links to a view: which recorded run, and what is shown of it. Ids and numbers only, never a viewer's text."""

import re
from dataclasses import replace

import streamlit as st

from app.components.view_state import NAMES, ViewState, view_from

RUN = "run"
MODEL = "model"  # the checkpoint, where the link names no run
_TITLE = "trace"  # a run by its title, in links of before
_RUN = re.compile(r"([\w.-]{1,80})/([\w.-]{1,80})")


def asked_checkpoint() -> str | None:
    """Return the checkpoint that the link names."""
    found = _RUN.fullmatch(st.query_params.get(RUN, ""))
    return found[1] if found else st.query_params.get(MODEL)


def asked_run(checkpoint: str) -> str | None:
    """Return the recorded run of a checkpoint that the link names, by its file or by its title."""
    found = _RUN.fullmatch(st.query_params.get(RUN, ""))
    if found:
        return found[2] if found[1] == checkpoint else None
    return st.query_params.get(_TITLE) if asked_checkpoint() in (None, checkpoint) else None


def view_of_run(checkpoint: str | None, run: str | None) -> ViewState:
    """Return what the link says is shown; pins and window belong to the run that it names alone."""
    asked = view_from({name: st.query_params.get(name, "") for name in NAMES})
    if run is not None and st.query_params.get(RUN) in (None, f"{checkpoint}/{run}"):
        return asked
    return replace(asked, pins="", window=None)


def remember(checkpoint: str | None, run: str | None, view: ViewState | None = None) -> None:
    """Put a run and its view into the link.

    Args:
        checkpoint: of the run; `None` if it is not here.
        run: name of its file; `None` for a text of the viewer or an uploaded file, which no link can name.
        view: what is shown, where a page has it.
    """
    view = view or ViewState()
    if run is not None:
        wanted = view.parameters | {RUN: f"{checkpoint}/{run}"}
    else:
        wanted = replace(view, pins="", window=None).parameters
        wanted |= {} if checkpoint is None else {MODEL: checkpoint}
    for name in (RUN, MODEL, _TITLE, *NAMES):
        if name in wanted and st.query_params.get(name) != wanted[name]:
            st.query_params[name] = wanted[name]
        elif name not in wanted and name in st.query_params:
            del st.query_params[name]
