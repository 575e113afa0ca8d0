"""Which run a page looks at: the recorded ones of a checkpoint, or a text that the reader types."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from app.components.strip import Badge
from app.frame import analysis_progress, messages, page_parts
from app.runs import analysis_jobs, gallery, jobs, session
from app.runs.gallery import Recorded
from app.runs.requests import AnalysisRequest
from app.text.words import say
from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.model.routing_rules import RoutingRule
from mor_core.traces.trace import Trace

RECORDED, OWN = SOURCES = "recorded", "own"


@dataclass(frozen=True)
class Chosen:
    """What a page looks at.

    Attributes:
        trace: the run.
        badge: whether it was computed just now.
        like_it: every recorded run of the checkpoint that followed the same rule; none beside a text just read.
    """

    trace: Trace
    badge: Badge
    like_it: list[Trace]


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
        chosen = None if trace is None else Chosen(trace, "LIVE", [])
    else:
        chosen = _recorded(info)
    if chosen is not None:
        page_parts.run_provenance(chosen.trace, chosen.badge)
    return chosen


def _recorded(info: CheckpointInfo) -> Chosen | None:
    listed, problems = gallery.recorded_runs(info.path)
    opened = {run.name: trace for run in listed if (trace := _opened(run)) is not None}
    for problem in problems:
        messages.show_error(problem)
    if not opened:
        messages.show_info(say("explore.no_traces"))
        return None
    titles = {run.name: run.title for run in listed}
    name = st.selectbox(
        say("explore.run"),
        list(opened),
        format_func=lambda name: titles[name],
        key="trace",
        bind="query-params",
        width=400,
    )
    trace = opened[name]
    rule = trace.header.routing
    like_it = [other for other in opened.values() if other.header.routing == rule]
    return Chosen(trace, "RECORDED", like_it)


def _opened(run: Recorded) -> Trace | None:
    """Open a recorded run that holds something; name it if it is damaged."""
    trace = messages.opened_trace(run.path)
    return trace if trace is not None and trace.tokens else None


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
    job = session.analysis_job()
    is_running = job is not None and not job.is_finished
    if st.button(say("explore.analyse"), type="primary", key="analyse", disabled=is_running):
        problem = analysis_jobs.text_problem(text)
        if not problem:
            session.set_analysis_job(
                analysis_jobs.analyse(AnalysisRequest(info, text, RoutingRule.causal()))
            )
            st.rerun()
        messages.show_error(problem)
    if is_running:
        analysis_progress.watch()
        return None
    if job is not None and job.error is not None:
        messages.show_error(jobs.failure(job))
    trace = analysis_jobs.finished_trace(job)
    if trace is None or not trace.tokens or trace.header.checkpoint_sha256 != info.sha256:
        return None
    return trace
