"""The Live page: Run and Stop, the run itself, and the tools for a finished run."""

import os
from collections.abc import Sequence

import streamlit as st

from app.components.strip import StripState, live_strip, token_strip
from app.frame import export, messages
from app.runs import generation_jobs, jobs, polling, resources, session
from app.runs.requests import GenerationRequest
from app.runs.stream import stream_url
from app.text.words import say
from app.views import controls, preflight, what_if
from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.server.jobs import Job
from mor_core.traces.trace import Trace

STRIP_KEY = "live_strip"


def transport(request: GenerationRequest | None) -> tuple[Job | None, bool]:
    """Draw Run and Stop; return this viewer's run, and whether the buttons show it as running.

    Only Stop ends a run; it continues while other widgets rerun the page.
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
    """Show why a run did not start or failed."""
    problem = session.live_message() or (jobs.failure(job) if job is not None else "")
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
    """Draw the run, or a recorded one before the first run.

    Args:
        job: this viewer's run.
        checkpoints: the checkpoints whose recorded runs may be drawn.
        request: the request that a slide clicker starts before the first run.
        shown_running: whether the buttons show a running job; the page reruns once it is over.
    """
    with st.container():  # also when empty: the strip below must not move
        if job is None and session.is_presenting() and request is not None:
            preflight.card(request.checkpoint, streams=_streams())

    @st.fragment
    def run_panel() -> None:
        if (
            job is None
        ):  # inside the fragment too, so that the strip does not move when the first run starts
            if _recorded(checkpoints) and request is not None:
                _run(request)
                st.rerun()
            return
        if shown_running and job.is_finished:
            st.rerun()  # once, to enable Run and show the tools for a finished run
        if _strip(job).unreachable and _streams():
            session.set_stream_unreachable()
            st.rerun()

    run_panel()


def keep(job: Job | None, checkpoints: Sequence[CheckpointInfo]) -> None:
    """Offer a finished run's files, the same prompt under another rule, and a comparison with earlier runs."""
    if job is None or not job.is_finished or job.trace is None:
        return
    export.downloads(job.trace, key="live_download")
    request = session.live_request()
    changed = what_if.choose(request, checkpoints) if request is not None else None
    if changed is not None:
        _run(changed)
        st.rerun()
    what_if.compare_with_kept(job.trace, checkpoints)


def _run(request: GenerationRequest) -> None:
    problem = controls.request_problem(request)
    if problem:
        session.set_live_message(problem)
        return
    session.set_live_job(generation_jobs.start(request), request)


def _streams() -> bool:
    """Whether this browser reads events from the event route, which only `asgi.py` serves."""
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
