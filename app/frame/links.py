"""Links to a recorded run and a view of it. Links hold ids and numbers, never a viewer's text."""

import re
from dataclasses import replace

import streamlit as st

from app.components.view_state import NAMES, ViewState, view_from

RUN = "run"
MODEL = "model"  # the checkpoint, if the link names no run
_TITLE = "trace"  # a run by its title, in links of earlier versions
_RUN = re.compile(r"([\w.-]{1,80})/([\w.-]{1,80})")


def linked_checkpoint() -> str | None:
    """Return the checkpoint that the link names."""
    found = _RUN.fullmatch(st.query_params.get(RUN, ""))
    return found[1] if found else st.query_params.get(MODEL)


def linked_run(checkpoint: str) -> str | None:
    """Return the file name or title of the recorded run that the link names for a checkpoint."""
    found = _RUN.fullmatch(st.query_params.get(RUN, ""))
    if found:
        return found[2] if found[1] == checkpoint else None
    return st.query_params.get(_TITLE) if linked_checkpoint() in (None, checkpoint) else None


def view_of_run(checkpoint: str | None, run: str | None) -> ViewState:
    """Return the view in the link; its pins and window apply only to the run that the link names."""
    linked = view_from({name: st.query_params.get(name, "") for name in NAMES})
    if run is not None and st.query_params.get(RUN) in (None, f"{checkpoint}/{run}"):
        return linked
    return replace(linked, pins="", window=None)


def remember(checkpoint: str | None, run: str | None, view: ViewState | None = None) -> None:
    """Put a run and its view into the link.

    Args:
        checkpoint: name of the run's checkpoint; `None` if this server does not have it.
        run: name of its file; `None` for a viewer's own text or an uploaded file, which links cannot name.
        view: the view of the run, if the page has one.
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
