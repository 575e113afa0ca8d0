"""The choice of a run on Explore, Router and KV cache: a recorded run, an own text, a file, or a run of Live.

The three pages share the choice, so a viewer who changes the page keeps the run.
"""

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

RECORDED, OWN_TEXT, FILE, LIVE = SOURCES = "recorded", "own", "file", "live"
EXAMPLE = (
    "The old clock in the hall struck nine, and still nobody came. Anna put down her book. "
    '"Perhaps they have lost their way," she said, and went to the window. Outside the snow was '
    "falling, softly and slowly, on the garden, on the gate and on the long white road."
)
MAX_UPLOAD_MIB = 20


@dataclass(frozen=True)
class Chosen:
    """The chosen run.

    Attributes:
        info: the run's checkpoint; `None` if unknown or not on this server.
        trace: the run; `None` if there is none yet; then the page says why.
        badge: `LIVE` if it was computed just now.
        name: file name of a recorded run, for links.
    """

    info: CheckpointInfo | None
    trace: Trace | None
    badge: Badge = "LIVE"
    name: str | None = None

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint's name, for links."""
        return None if self.info is None else self.info.name


def choose(checkpoints: Sequence[CheckpointInfo]) -> Chosen:
    """Let the viewer choose a run and return it; if there is none, say what to do."""
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
    if source == FILE:
        trace = _uploaded()
        return Chosen(_checkpoint_of(trace, checkpoints), trace, "RECORDED")
    if source == LIVE:
        trace = _of_live()
        return Chosen(_checkpoint_of(trace, checkpoints), trace)
    if not checkpoints:
        messages.show_info(say("frame.no_checkpoints"))
        return Chosen(None, None)
    with_runs = (info.name for info in checkpoints if resources.recorded_traces(info.path))
    first = links.linked_checkpoint() or next(with_runs, None)
    info = page_parts.choose_checkpoint(checkpoints, key="run_checkpoint", first=first)
    return Chosen(info, _own_text(info)) if source == OWN_TEXT else _recorded(info)


def provenance(chosen: Chosen) -> None:
    """Draw a line on the checkpoint and one on the run; without the checkpoint, say what the page leaves out."""
    if chosen.info is not None:
        page_parts.provenance(chosen.info)
    if chosen.trace is not None:
        page_parts.run_provenance(chosen.trace, chosen.badge)
        if chosen.info is None:
            name = chosen.trace.header.checkpoint
            messages.show_info(say("explore.checkpoint_elsewhere", name=name))


def _recorded(info: CheckpointInfo) -> Chosen:
    found, problems = gallery.recorded_runs(info.path)
    for problem in problems:
        messages.show_error(problem)
    if not found:
        if not problems:
            messages.show_info(say("explore.no_traces"))
        return Chosen(info, None)
    linked = links.linked_run(info.name)
    first = next((run for run in found if linked in (run.name, run.title)), found[0])
    if linked and linked not in (first.name, first.title):
        messages.show_info(say("explore.no_such_run", name=linked))
    run = _pick(info.name, found, first)
    trace = _filled(messages.opened_trace(run.path), run.path.name)
    if trace is not None and (note := gallery.note_of(run, trace.header)):
        st.caption(messages.as_text(note))
    return Chosen(info, trace, "RECORDED", run.name)


def _pick(checkpoint: str, found: Sequence[Recorded], first: Recorded) -> Recorded:
    """Let the viewer choose a group, if there are several, and one of its runs."""
    groups = gallery.groups_of(found)
    key = f"run_{checkpoint}"
    if len(groups) > 1:
        group = st.pills(
            say("gallery.group"),
            groups,
            format_func=lambda name: say(f"gallery.group_{name}"),
            default=first.group,
            required=True,
            key=f"run_group_{checkpoint}",
            persist_state="session",
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
        persist_state="session",
        label_visibility="collapsed",
    )
    return found[chosen or 0]


def _uploaded() -> Trace | None:
    file = st.file_uploader(
        say("explore.source_file"),
        type=["gz"],
        key="run_file",
        max_upload_size=MAX_UPLOAD_MIB,
        help=say("explore.file_note"),
    )
    if file is None:
        messages.show_info(say("explore.file_note"))
        return None
    try:
        return _filled(load_trace(file.getvalue()), file.name)
    except TraceError as error:
        messages.show_problem(error, file.name)
        return None


def _of_live() -> Trace | None:
    """Return this viewer's last finished run on Live."""
    trace = analysis_jobs.finished_trace(session.live_job())
    runs = [*([trace] if trace else []), *session.kept_runs()]
    found = next((run for run in runs if run.tokens), None)
    if found is None:
        messages.show_info(say("explore.no_live"))
    return found


def _own_text(info: CheckpointInfo) -> Trace | None:
    text = st.text_area(
        say("explore.text"),
        EXAMPLE,
        height=110,
        key="own_text",
        persist_state="session",
        help=say("explore.analyse_note"),
        label_visibility="collapsed",
    )
    rule, rule_problem = choose_routing(info.config, "run")
    job = session.analysis_job()
    is_running = job is not None and not job.is_finished
    left, right, _ = st.columns([1, 1, 6])
    starts = left.button(
        say("explore.analyse"), type="primary", key="analyse", width="stretch", disabled=is_running
    )
    stops = right.button(
        say("explore.stop"), key="analyse_stop", width="stretch", disabled=not is_running
    )
    if starts:
        problem = analysis_jobs.text_problem(text) or rule_problem
        if not problem:
            request = AnalysisRequest(info, text, rule)
            session.set_analysis_job(analysis_jobs.analyse(request))
            st.rerun()
        messages.show_error(problem)
    if job is None:
        return None
    if stops:
        job.cancel()
    if is_running:
        analysis_progress.watch()
        return None
    if job.error is not None:
        messages.show_error(jobs.failure(job))
    trace = analysis_jobs.finished_trace(job)
    if trace is None or not trace.tokens or trace.header.checkpoint_sha256 != info.sha256:
        return None
    return trace


def _filled(trace: Trace | None, name: str) -> Trace | None:
    """Return the run if it has tokens; else show an error and return `None`."""
    if trace is not None and not trace.tokens:
        messages.show_error(say("explore.no_token", name=name))
        return None
    return trace


def _checkpoint_of(
    trace: Trace | None, checkpoints: Sequence[CheckpointInfo]
) -> CheckpointInfo | None:
    """Return the checkpoint that wrote a run, if this server has it."""
    wanted = None if trace is None else trace.header.checkpoint_sha256
    return next((info for info in checkpoints if info.sha256 == wanted), None)
