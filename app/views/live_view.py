"""The Live page's moving parts: transport, the run itself, and what is kept of it."""

import os
from collections.abc import Sequence

import streamlit as st

from app.components.strip import StripState, live_strip, token_strip
from app.frame import export, messages
from app.runs import generation_jobs, polling, resources, session
from app.runs.jobs import Job
from app.runs.requests import GenerationRequest
from app.runs.stream import stream_url
from app.text.words import say
from app.views import controls, preflight, what_if
from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.traces.trace import Trace

STRIP_KEY = "live_strip"


def transport(request: GenerationRequest | None) -> tuple[Job | None, bool]:
    """Draw Run and Stop; return this viewer's run, and whether the buttons show it as running.

    Only Stop ends a run; another widget's rerun finds it going on.
    """
    job = session.live_job()
    is_running = job is not None and not job.is_finished
    starts, stops = controls.run_and_stop(
        "live", "run", is_running=is_running, can_start=request is not None
    )
    if starts and request is not None:
        _run(request)
        st.rerun()
    if stops and job is not None:
        job.cancel()
    return job, is_running


def job_messages(job: Job | None) -> None:
    """Say why a run did not start or did not end well."""
    problem = session.live_message() or (job.message if job is not None else "")
    with st.container():  # also when empty: the strip below must not move
        if problem:
            messages.show_error(problem)


def panel(
    job: Job | None,
    checkpoints: Sequence[CheckpointInfo],
    request: GenerationRequest | None,
    *,
    shown_running: bool = False,
) -> None:
    """Draw the run, or a recorded one before the first.

    Args:
        job: this viewer's run.
        checkpoints: the checkpoints whose recorded runs may be drawn.
        request: what a slide clicker's press runs before the first run.
        shown_running: what the buttons say; they are drawn again once the run is over.
    """
    with st.container():  # also when empty: the strip below must not move
        if job is None and session.is_presenting() and request is not None:
            preflight.card(request.checkpoint, streams=_streams())

    @st.fragment
    def run_panel() -> None:
        if job is None:  # in here too: the strip stays where it is when the first run begins
            if _recorded(checkpoints) and request is not None:
                _run(request)
                st.rerun()
            return
        if shown_running and job.is_finished:
            st.rerun()  # once: Run comes back, and what is kept of the run can be had
        if _strip(job).unreachable and _streams():
            session.set_stream_unreachable()
            st.rerun()

    run_panel()


def keep(job: Job | None, checkpoints: Sequence[CheckpointInfo]) -> None:
    """Offer a finished run's files, the same run under another rule, and the runs before it."""
    if job is None or not job.is_finished or job.trace is None:
        return
    export.downloads(job.trace, key="live_download")
    asked = session.live_request()
    again = what_if.choose(asked, checkpoints) if asked is not None else None
    if again is not None:
        _run(again)
        st.rerun()
    what_if.compare_with_kept(job.trace, checkpoints)


def _run(request: GenerationRequest) -> None:
    problem = controls.request_problem(request)
    if problem:
        session.set_live_message(problem)
        return
    session.set_live_job(generation_jobs.start(request), request)


def _streams() -> bool:
    """Whether this browser reads events by the route that only `asgi.py` serves."""
    return os.environ.get("MOR_STREAM") == "1" and not session.is_stream_unreachable()


def _strip(job: Job) -> StripState:
    if _streams():
        return live_strip(job, key=STRIP_KEY, stream=stream_url(job))
    return live_strip(job, key=STRIP_KEY, batch=polling.batch(job, session.asks(STRIP_KEY)))


def _recorded(checkpoints: Sequence[CheckpointInfo]) -> bool:
    """Draw a recorded run; return whether a speaker asked for a live one."""
    trace = _first_trace(checkpoints)
    if not checkpoints:
        messages.show_info(say("frame.no_checkpoints"))
    elif trace is None:
        messages.show_info(say("live.no_recorded_run"))
    else:
        return token_strip(trace, key=STRIP_KEY, badge="RECORDED").wants_run
    return False


def _first_trace(checkpoints: Sequence[CheckpointInfo]) -> Trace | None:
    for info in checkpoints:
        for path in resources.recorded_traces(info.path):
            if (trace := messages.opened_trace(path)) is not None:
                return trace
    return None
