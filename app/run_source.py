"""Which run a page looks at: the recorded ones of a checkpoint, or a text that the reader types."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from app import loading, notices, runs, state
from app.routing_controls import RoutingChoice
from app.runs import AnalysisRequest
from app.words import entries, say
from mor_core.checkpoint import CheckpointInfo
from mor_core.trace import Trace, TraceHeader
from mor_core.tracefile import TraceError

RECORDED, OWN = SOURCES = "recorded", "own"
POLL_S = 0.3


@dataclass(frozen=True)
class Chosen:
    """What a page looks at.

    Attributes:
        trace: the run.
        recorded: every recorded run of the checkpoint.
        is_live: whether the run was computed just now.
    """

    trace: Trace
    recorded: list[Trace]
    is_live: bool


def choose_checkpoint(checkpoints: Sequence[CheckpointInfo]) -> CheckpointInfo:
    """Draw the choice of a checkpoint, which the link keeps, and return the chosen one."""
    if len(checkpoints) == 1:
        return checkpoints[0]
    names = [info.name for info in checkpoints]
    name = st.selectbox(say("frame.checkpoint"), names, key="model", bind="query-params", width=400)
    return checkpoints[names.index(name)]


def choose_run(info: CheckpointInfo, example: str) -> Chosen | None:
    """Draw the choice of a run of a checkpoint; say what to do where there is none yet.

    Args:
        info: the checkpoint.
        example: text that stands in the field at first.
    """
    recorded = open_recorded(info)
    source = st.segmented_control(
        say("explore.source"),
        list(SOURCES),
        format_func=lambda name: say(f"explore.source_{name}"),
        default=RECORDED,
        required=True,
        key="source",
        bind="query-params",
        label_visibility="collapsed",
    )
    if source == OWN:
        trace = _own_text(info, example)
        return Chosen(trace, recorded, is_live=True) if trace is not None else None
    if not recorded:
        notices.show_info(say("explore.no_traces"))
        return None
    titles = [title_of(trace) for trace in recorded]
    title = st.pills(
        say("explore.run"),
        titles,
        default=titles[0],
        required=True,
        key="run",
        bind="query-params",
        format_func=notices.as_text,
        label_visibility="collapsed",
    )
    return Chosen(recorded[titles.index(title or titles[0])], recorded, is_live=False)


def caption(chosen: Chosen) -> None:
    """Write one line: whether the run is live or recorded, its rule, its length and where it was computed."""
    header = chosen.trace.header
    line = say(
        "router.run_line",
        badge=say("strip.badge_LIVE" if chosen.is_live else "strip.badge_RECORDED"),
        title=say("explore.source_own") if chosen.is_live else title_of(chosen.trace),
        rule=_rule(header),
        tokens=f"{len(chosen.trace.tokens):,}",
        device=header.device,
        dtype=header.dtype,
    )
    st.caption(notices.as_text(line))


def open_recorded(info: CheckpointInfo) -> list[Trace]:
    """Open a checkpoint's recorded runs; one that is damaged is named and left out."""
    traces = []
    for path in loading.recorded_traces(info.path):
        try:
            trace = loading.open_trace(path)
        except TraceError as error:
            notices.show_error(f"{path.name}: {error}")
            continue
        if trace.tokens:
            traces.append(trace)
    return traces


def title_of(trace: Trace) -> str:
    """Return what a run is called."""
    return trace.header.title or trace.header.created


def _rule(header: TraceHeader) -> str:
    name = header.routing.get("name", "none")
    if f"strip.rule_{name}" not in entries():  # a rule of a later version
        return str(name)
    return say(f"strip.rule_{name}", depth=header.routing.get("depth"))


def _own_text(info: CheckpointInfo, example: str) -> Trace | None:
    text = st.text_area(
        say("explore.text"),
        example,
        height=110,
        key="own_text",
        persist_state="session",
        help=say("explore.analyse_note"),
        label_visibility="collapsed",
    )
    job = state.analysis_job()
    is_running = job is not None and not job.is_finished
    if st.button(say("explore.analyse"), type="primary", key="analyse", disabled=is_running):
        problem = runs.text_problem(text)
        if not problem:
            state.set_analysis_job(runs.analyse(AnalysisRequest(info, text, RoutingChoice())))
            st.rerun()
        notices.show_error(problem)
    if is_running:
        _watch()
        return None
    if job is not None and job.message:
        notices.show_error(job.message)
    trace = runs.finished_trace(job)
    if trace is None or not trace.tokens or trace.header.checkpoint_sha256 != info.sha256:
        return None
    return trace


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
