"""The choice of the Compare page's two runs: recorded runs, or one text that both sides analyse now."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from app.components.strip import Badge
from app.frame import messages
from app.frame.routing_controls import choose_routing
from app.runs import analysis_jobs, resources, session
from app.runs.jobs import failure
from app.runs.requests import AnalysisRequest
from app.text.words import say
from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.server.jobs import Job
from mor_core.traces.trace import TRACE_SUFFIX, Trace

RECORDED, TEXT, RACE = "recorded", "text", "race"
EXAMPLE = (
    "The fox looked up at the grapes, and they were ripe and sweet; but the vine was high, and "
    'however he jumped he could not reach them. "They are sour," said he, and he went away into '
    "the wood, for there was nobody to see him."
)
FIRST_RUN = (
    "the-house-that-jack-built"  # both bundled models have a recorded run on this complete text
)
KV_STRATEGIES = ("recursion_wise", "shared")
POLL_S = 0.3
Pair = tuple[Trace, Trace]


def choose(checkpoints: Sequence[CheckpointInfo]) -> tuple[Pair | None, Badge]:
    """Let the viewer choose two runs; return them and the badge `LIVE` or `RECORDED`."""
    raced = session.raced_runs()
    source = st.segmented_control(
        say("compare.source"),
        [RECORDED, TEXT, *([RACE] if raced else [])],
        format_func=lambda name: say(f"compare.source_{name}"),
        default=RECORDED,
        required=True,
        key=session.COMPARE_SOURCE,
        persist_state="session",
        label_visibility="collapsed",
    )
    if source == RACE:
        return raced, "LIVE"
    if source == TEXT:
        return _same_text(checkpoints), "LIVE"
    return _recorded(checkpoints), "RECORDED"


def recorded_runs(checkpoints: Sequence[CheckpointInfo]) -> dict[str, Path]:
    """Return the path of every recorded run by its name in links, such as `stories-demo/01-a-little-rabbit`."""
    return {
        f"{info.name}/{path.name.removesuffix(TRACE_SUFFIX)}": path
        for info in checkpoints
        for path in resources.recorded_traces(info.path)
    }


def counterpart(name: str, names: Sequence[str]) -> str:
    """Return the default run to compare with: the same run of another checkpoint, else the next in the list."""
    others = [other for other in names if other != name]
    same = [other for other in others if other.partition("/")[2] == name.partition("/")[2]]
    return [*same, *others, name][0]


def _recorded(checkpoints: Sequence[CheckpointInfo]) -> Pair | None:
    found = recorded_runs(checkpoints)
    if len(found) < 2:
        messages.show_info(say("compare.no_traces") if checkpoints else say("frame.no_checkpoints"))
        return None
    names = list(found)
    left, right = st.columns(2)
    shown = next((name for name in names if name.endswith(FIRST_RUN)), names[0])
    defaults = [names.index(name) for name in (counterpart(shown, names), shown)]
    first, second = (
        column.selectbox(
            say(f"compare.run_{side}"),
            names,
            index=default,
            key=f"compare_{side}",
            bind="query-params",
        )
        for column, side, default in zip((left, right), "ab", defaults, strict=True)
    )
    opened = [messages.opened_trace(found[name]) for name in (first, second)]
    return (opened[0], opened[1]) if opened[0] and opened[1] else None


def _same_text(checkpoints: Sequence[CheckpointInfo]) -> Pair | None:
    if not checkpoints:
        messages.show_info(say("frame.no_checkpoints"))
        return None
    text = st.text_area(
        say("compare.text"),
        EXAMPLE,
        height=90,
        key="compare_text",
        persist_state="session",
        label_visibility="collapsed",
    )
    requests = [_side(checkpoints, text, side) for side in "ab"]
    jobs = session.compare_jobs()
    is_running = jobs is not None and not all(job.is_finished for job in jobs)
    left, right, _ = st.columns([1.2, 1, 6])
    pressed = left.button(
        say("compare.read"),
        type="primary",
        key="compare_read",
        width="stretch",
        disabled=is_running,
    )
    if pressed:
        _start(requests)
    stopped = right.button(
        say("explore.stop"), key="compare_stop", width="stretch", disabled=not is_running
    )
    if jobs is None:
        messages.show_info(say("compare.text_hint"))
        return None
    if stopped:
        for job in jobs:
            job.cancel()
    if is_running:
        _watch()
        return None
    return _finished(jobs)


def _side(checkpoints: Sequence[CheckpointInfo], text: str, side: str) -> AnalysisRequest:
    """Let the viewer choose one side's checkpoint and rule; by default, B has the default checkpoint and A another."""
    names = [info.name for info in checkpoints]
    left, middle, right = st.columns([1.2, 1.1, 4.2], vertical_alignment="bottom")
    name = left.selectbox(
        say(f"compare.side_{side}"),
        names,
        index=0 if side == "b" else min(1, len(names) - 1),
        key=f"compare_checkpoint_{side}",
        persist_state="session",
    )
    info = checkpoints[names.index(name)]
    strategy = ""
    if offers := kv_strategies(info.config):
        strategy = middle.selectbox(
            say("compare.kv"),
            offers,
            format_func=lambda value: say(f"frame.cache_{value}"),
            key=f"compare_kv_{side}_{name}",
            help=say("compare.kv_help"),
            persist_state="session",
        )
    with right:
        routing, problem = choose_routing(info.config, f"compare_{side}")
    own = info.config.get("kv_strategy")
    return AnalysisRequest(info, text, routing, "" if strategy == own else strategy, problem)


def kv_strategies(config: Mapping[str, Any]) -> list[str]:
    """Return the KV strategies that a model can use, its own first; empty if there is no choice."""
    factors = config.get("capacity_factors")
    skips_all = isinstance(factors, list) and bool(factors) and factors[0] < 1
    own = config.get("kv_strategy")
    if config.get("num_recursions", 1) < 2 or skips_all or own not in KV_STRATEGIES:
        return []
    return sorted(KV_STRATEGIES, key=lambda name: name != own)


def _start(requests: Sequence[AnalysisRequest]) -> None:
    problems = [
        analysis_jobs.text_problem(requests[0].text),
        *(side.routing_problem for side in requests),
    ]
    problem = next(filter(None, problems), "")
    if problem:
        messages.show_error(problem)
        return
    first, second = requests
    session.set_compare_jobs(
        (analysis_jobs.analyse(first, "compare_a"), analysis_jobs.analyse(second, "compare_b"))
    )
    st.rerun()


@st.fragment(run_every=POLL_S)
def _watch() -> None:
    """Show the progress of both analysis jobs; when they are done, rerun the page, which then draws the result."""
    jobs = session.compare_jobs()
    if jobs is None:
        return
    for job in jobs:
        job.touch()
    if all(job.is_finished for job in jobs):
        st.rerun()
    for column, letter, job in zip(st.columns(2), "AB", jobs, strict=True):
        share, words = (
            (1.0, say("compare.done")) if job.is_finished else analysis_jobs.progress(job)
        )
        column.progress(min(share, 1.0), f"{letter}: {words}")


def _finished(jobs: tuple[Job, Job]) -> Pair | None:
    for letter, job in zip("AB", jobs, strict=True):
        if job.error is not None:
            messages.show_error(f"{letter}: {failure(job)}")
    first, second = (analysis_jobs.finished_trace(job) for job in jobs)
    if first is None or second is None or not first.tokens or not second.tokens:
        return None
    return first, second
