"""Where the Explore page's run comes from: a recorded one, a text that is read now, or an uploaded file."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from app import frame, loading, notices, runs, state
from app.routing_controls import choose_routing
from app.runs import AnalysisRequest
from app.strip import Badge
from app.words import say
from mor_core.checkpoint import CheckpointInfo
from mor_core.trace import Trace
from mor_core.tracefile import TraceError, load_trace

RECORDED, OWN_TEXT, FILE = SOURCES = "recorded", "own", "file"
EXAMPLE = (
    "The old clock in the hall struck nine, and still nobody came. Anna put down her book. "
    '"Perhaps they have lost their way," she said, and went to the window. Outside the snow was '
    "falling, softly and slowly, on the garden, on the gate and on the long white road."
)
MAX_UPLOAD_MIB = 20
POLL_S = 0.3


def choose(checkpoints: Sequence[CheckpointInfo]) -> tuple[Trace | None, Badge]:
    """Draw the choice of a run and return it, with the badge that says whether it was computed just now."""
    source = st.segmented_control(
        say("explore.source"),
        list(SOURCES),
        format_func=lambda name: say(f"explore.source_{name}"),
        default=RECORDED,
        required=True,
        key="explore_source",
        persist_state="session",
        label_visibility="collapsed",
    )
    if source == OWN_TEXT:
        return _own_text(checkpoints), "LIVE"
    if source == FILE:
        return _uploaded(), "RECORDED"
    return _recorded(checkpoints), "RECORDED"


def _recorded(checkpoints: Sequence[CheckpointInfo]) -> Trace | None:
    found = [info for info in checkpoints if loading.recorded_traces(info.path)]
    if not found:
        notices.show_info(say("explore.no_traces") if checkpoints else say("frame.no_checkpoints"))
        return None
    info = frame.choose_checkpoint(found, key="explore_checkpoint")
    opened = _openable(loading.recorded_traces(info.path))
    if not opened:
        return None
    chosen = st.pills(
        say("explore.run"),
        list(range(len(opened))),
        format_func=lambda index: notices.as_text(opened[index][0]),
        default=0,
        required=True,
        key=f"explore_run_{info.name}",
        label_visibility="collapsed",
    )
    trace = opened[chosen or 0][1]
    if trace.header.note:
        st.caption(notices.as_text(trace.header.note))
    return trace


def _openable(paths: Sequence[Path]) -> list[tuple[str, Trace]]:
    """Open recorded runs; one that is damaged is named and left out."""
    opened = []
    for path in paths:
        try:
            trace = loading.open_trace(path)
        except TraceError as error:
            notices.show_error(f"{path.name}: {error}")
            continue
        opened.append((trace.header.title or path.name.split(".")[0], trace))
    return opened


def _uploaded() -> Trace | None:
    file = st.file_uploader(
        say("explore.source_file"),
        type=["gz"],
        key="explore_file",
        max_upload_size=MAX_UPLOAD_MIB,
        help=say("explore.file_note"),
    )
    if file is None:
        notices.show_info(say("explore.file_note"))
        return None
    try:
        trace = load_trace(file.getvalue())
    except TraceError as error:
        notices.show_error(f"{file.name}: {error}")
        return None
    if not trace.tokens:
        notices.show_error(say("explore.no_token", name=file.name))
        return None
    return trace


def _own_text(checkpoints: Sequence[CheckpointInfo]) -> Trace | None:
    if not checkpoints:
        notices.show_info(say("frame.no_checkpoints"))
        return None
    text = st.text_area(
        say("explore.text"),
        EXAMPLE,
        height=110,
        key="explore_text",
        persist_state="session",
        help=say("explore.analyse_note"),
        label_visibility="collapsed",
    )
    request = _settings(checkpoints, text)
    job = state.analysis_job()
    is_running = job is not None and not job.is_finished
    left, right, _ = st.columns([1, 1, 6])
    if left.button(
        say("explore.analyse"),
        type="primary",
        key="explore_analyse",
        width="stretch",
        disabled=is_running,
    ):
        _start(request)
    if (
        right.button(
            say("explore.stop"), key="explore_stop", width="stretch", disabled=not is_running
        )
        and job is not None
    ):
        job.cancel()
    if job is None:
        return None
    if is_running:
        _watch()
        return None
    if job.message:
        notices.show_error(job.message)
    trace = runs.finished_trace(job)
    return trace if trace is not None and trace.tokens else None


def _settings(checkpoints: Sequence[CheckpointInfo], text: str) -> AnalysisRequest:
    names = [info.name for info in checkpoints]
    name = st.selectbox(
        say("frame.checkpoint"),
        names,
        key="explore_own_checkpoint",
        persist_state="session",
        width=400,
    )
    info = checkpoints[names.index(name)]
    return AnalysisRequest(info, text, choose_routing(info.config, "explore"))


def _start(request: AnalysisRequest) -> None:
    problem = runs.text_problem(request.text) or request.routing.problem
    if problem:
        notices.show_error(problem)
        return
    state.set_analysis_job(runs.analyse(request))
    st.rerun()


@st.fragment(run_every=POLL_S)
def _watch() -> None:
    """Show how far the reading is; when it is over the page draws the result."""
    job = state.analysis_job()
    if job is None:
        return
    job.touch()
    if job.is_finished:
        st.rerun()
    share, words = runs.progress(job)
    st.progress(min(share, 1.0), words)
