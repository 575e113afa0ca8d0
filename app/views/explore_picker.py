"""Where the Explore page's run comes from: a recorded one, a text that is read now, or an uploaded file."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from app.components.strip import Badge
from app.frame import analysis_progress, links, messages, page_parts
from app.frame.routing_controls import choose_routing
from app.runs import analysis_jobs, gallery, jobs, resources, session
from app.runs.gallery import Recorded
from app.runs.requests import AnalysisRequest
from app.text.words import say
from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.traces.trace import Trace
from mor_core.traces.trace_file import TraceError, load_trace

RECORDED, OWN_TEXT, FILE = SOURCES = "recorded", "own", "file"
EXAMPLE = (
    "The old clock in the hall struck nine, and still nobody came. Anna put down her book. "
    '"Perhaps they have lost their way," she said, and went to the window. Outside the snow was '
    "falling, softly and slowly, on the garden, on the gate and on the long white road."
)
MAX_UPLOAD_MIB = 20


@dataclass(frozen=True)
class Chosen:
    """The run of the page.

    Attributes:
        trace: the run.
        badge: whether it was computed just now.
        checkpoint: of a recorded run.
        name: of a recorded run's file, which a link may name.
    """

    trace: Trace
    badge: Badge
    checkpoint: str | None = None
    name: str | None = None


def choose(checkpoints: Sequence[CheckpointInfo]) -> Chosen | None:
    """Draw the choice of a run and return it."""
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
    if source == RECORDED or source is None:
        return _recorded(checkpoints)
    trace = _own_text(checkpoints) if source == OWN_TEXT else _uploaded()
    if trace is None:
        return None
    return Chosen(trace, "LIVE" if source == OWN_TEXT else "RECORDED")


def _recorded(checkpoints: Sequence[CheckpointInfo]) -> Chosen | None:
    found = [info for info in checkpoints if resources.recorded_traces(info.path)]
    if not found:
        messages.show_info(say("explore.no_traces") if checkpoints else say("frame.no_checkpoints"))
        return None
    asked = links.asked_run()
    info = page_parts.choose_checkpoint(found, key="explore_checkpoint", first=asked and asked[0])
    runs_, problems = gallery.recorded_runs(info.path)
    for problem in problems:
        messages.show_error(problem)
    if not runs_:
        return None
    wanted = next((run for run in runs_ if asked == (info.name, run.name)), runs_[0])
    if asked and asked[0] == info.name and wanted.name != asked[1]:
        messages.show_info(say("explore.no_such_run", name=asked[1]))
    run = _pick(info.name, runs_, wanted)
    trace = messages.opened_trace(run.path)
    if trace is None:
        return None
    note = gallery.note_of(run, trace.header)
    if note:
        st.caption(messages.as_text(note))
    return Chosen(trace, "RECORDED", info.name, run.name)


def _pick(checkpoint: str, found: Sequence[Recorded], first: Recorded) -> Recorded:
    """Draw the groups, where there are several, and the runs of the chosen one."""
    groups = gallery.groups_of(found)
    key = f"explore_run_{checkpoint}"
    if len(groups) > 1:
        group = st.pills(
            say("gallery.group"),
            groups,
            format_func=lambda name: say(f"gallery.group_{name}"),
            default=first.group,
            required=True,
            key=f"explore_group_{checkpoint}",
            label_visibility="collapsed",
        )
        found = [run for run in found if run.group == group]
        key = f"{key}_{group}"
    chosen = st.pills(
        say("explore.run"),
        list(range(len(found))),
        format_func=lambda index: messages.as_text(found[index].title),
        default=found.index(first) if first in found else 0,
        required=True,
        key=key,
        label_visibility="collapsed",
    )
    return found[chosen or 0]


def _uploaded() -> Trace | None:
    file = st.file_uploader(
        say("explore.source_file"),
        type=["gz"],
        key="explore_file",
        max_upload_size=MAX_UPLOAD_MIB,
        help=say("explore.file_note"),
    )
    if file is None:
        messages.show_info(say("explore.file_note"))
        return None
    try:
        trace = load_trace(file.getvalue())
    except TraceError as error:
        messages.show_problem(error, file.name)
        return None
    if not trace.tokens:
        messages.show_error(say("explore.no_token", name=file.name))
        return None
    return trace


def _own_text(checkpoints: Sequence[CheckpointInfo]) -> Trace | None:
    if not checkpoints:
        messages.show_info(say("frame.no_checkpoints"))
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
    job = session.analysis_job()
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
        analysis_progress.watch()
        return None
    if job.error is not None:
        messages.show_error(jobs.failure(job))
    trace = analysis_jobs.finished_trace(job)
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
    rule, problem = choose_routing(info.config, "explore")
    return AnalysisRequest(info, text, rule, routing_problem=problem)


def _start(request: AnalysisRequest) -> None:
    problem = analysis_jobs.text_problem(request.text) or request.routing_problem
    if problem:
        messages.show_error(problem)
        return
    session.set_analysis_job(analysis_jobs.analyse(request))
    st.rerun()
