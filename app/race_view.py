"""The Race on the Live page: one prompt and one seed, two checkpoints generating at the same time."""

import os
from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from app import controls, live_runs, loading, notices, pair, state
from app.compare_source import counterpart, recorded_runs
from app.controls import GenerationRequest
from app.events import trace_events
from app.jobs import Job, job_batch, job_manager
from app.routing_controls import RoutingChoice
from app.scale import Scale, shared_scale
from app.state import Delivery, Race
from app.stream import stream_url
from app.strip import trace_id
from app.words import say
from mor_core.checkpoint import CheckpointInfo
from mor_core.trace import Trace
from mor_core.tracefile import TraceError

ONE, RACE = MODES = "one", "race"
POLL_S = 0.25
OVERLAP_EVENTS = 4  # sent again, so that a batch that was overtaken by the next one is not missed


def choose_mode() -> bool:
    """Draw the switch between one run and a race; return whether it is a race."""
    mode = st.segmented_control(
        say("race.mode"),
        list(MODES),
        format_func=lambda name: say(f"race.mode_{name}"),
        default=ONE,
        required=True,
        key="live_mode",
        persist_state="session",
        label_visibility="collapsed",
        width="stretch",
    )
    return mode == RACE


def opponent(
    checkpoints: Sequence[CheckpointInfo], request: GenerationRequest | None
) -> GenerationRequest | None:
    """Draw the choice of A, which runs beside the checkpoint of the settings; `None` if there is no other.

    A follows its own rule: each model is to do what it was trained for.
    """
    if request is None:
        return None
    others = [info for info in checkpoints if info.path != request.checkpoint.path]
    if not others:
        notices.show_info(say("race.no_other"))
        return None
    names = [info.name for info in others]
    plain = [info.name for info in others if info.config.get("router_type") == "none"]
    name = st.selectbox(
        say("race.opponent", name=request.checkpoint.name),
        names,
        index=names.index([*plain, *names][0]),
        key="race_opponent",
        persist_state="session",
        width=400,
    )
    return replace(request, checkpoint=others[names.index(name)], routing=RoutingChoice())


def transport(requests: tuple[GenerationRequest, GenerationRequest] | None) -> bool:
    """Draw the buttons; return whether they show the race as running. Only Stop ends it."""
    race = state.race()
    is_running = race is not None and not race.is_finished
    starts = st.button(
        say("race.start"),
        type="primary",
        icon=":material/play_arrow:",
        key="race_start",
        shortcut="Mod+Enter",
        width="stretch",
        disabled=is_running or requests is None,
    )
    stops = st.button(
        say("live.stop"),
        icon=":material/stop:",
        key="race_stop",
        shortcut="Escape",
        width="stretch",
        disabled=not is_running,
    )
    if starts and requests is not None:
        _start(requests)
        st.rerun()
    if stops and race is not None:
        for job in race.jobs:
            job.cancel()
    return is_running


def panel(checkpoints: Sequence[CheckpointInfo], *, shown_running: bool) -> None:
    """Draw the race, or two recorded runs before the first.

    Args:
        checkpoints: whose recorded runs may be drawn.
        shown_running: what the buttons say; they are drawn again once the race is over.
    """
    with st.container():  # also when empty: what is below must not move
        if state.live_message():
            notices.show_error(state.live_message())
    race = state.race()
    if race is None:
        _recorded(checkpoints)
        return
    scale = _scale(race, checkpoints)
    polls = not race.is_finished and not _streams()

    @st.fragment(run_every=POLL_S if polls else None)
    def race_panel() -> None:
        _take_answers(race, _draw(race, scale))
        if shown_running and race.is_finished:
            st.rerun()  # once: Start comes back, and the runs can be compared

    race_panel()
    _offer_comparison(race)


def _start(requests: tuple[GenerationRequest, GenerationRequest]) -> None:
    problem = next(filter(None, map(controls.request_problem, requests)), "")
    state.set_live_message(problem)
    if problem:
        return
    first, second = requests
    jobs = live_runs.start(first, "race_a"), live_runs.start(second, "race_b")
    state.set_race(jobs, (first.checkpoint.name, second.checkpoint.name))


def _streams() -> bool:
    """Whether this browser reads events by the route that only `asgi.py` serves."""
    return os.environ.get("MOR_STREAM") == "1" and not state.is_stream_unreachable()


def _draw(race: Race, scale: Scale) -> pair.RaceState:
    first, second = (
        _lane(job, name, delivery)
        for job, name, delivery in zip(race.jobs, race.names, race.deliveries, strict=True)
    )
    return pair.draw_race((first, second), scale, "LIVE", key="live_race", live=True)


def _lane(job: Job, name: str, delivery: Delivery) -> pair.Lane:
    if _streams():
        return pair.Lane(job.id, name, stream=stream_url(job))
    job.touch()
    batch = job_batch(job, max(0, delivery.sent - OVERLAP_EVENTS), job_manager().num_ahead(job))
    delivery.sent = batch["from"] + len(batch["events"])
    return pair.Lane(job.id, name, batch=batch)


def _take_answers(race: Race, drawn: pair.RaceState) -> None:
    """Meet what the browser asked for: other transport, or events that it missed."""
    if drawn.unreachable and _streams():
        state.set_stream_unreachable()
        st.rerun()
    if drawn.resume_from is None:
        return
    run, index, request = drawn.resume_from
    for delivery in race.deliveries:
        if delivery.job_id == run and delivery.answered != request:
            delivery.sent, delivery.answered = index, request
            st.rerun()


def _scale(race: Race, checkpoints: Sequence[CheckpointInfo]) -> Scale:
    configs = {info.name: info.config for info in checkpoints}
    first, second = (configs.get(name, {}) for name in race.names)
    return shared_scale(first, second)


def _recorded(checkpoints: Sequence[CheckpointInfo]) -> None:
    found = recorded_runs(checkpoints)
    names = list(found)
    if len(names) < 2:
        notices.show_info(say("race.no_recorded_run"))
        return
    try:
        second, first = (
            loading.open_trace(found[name]) for name in (names[0], counterpart(names[0], names))
        )
    except TraceError as error:
        notices.show_problem(error)
        return
    scale = shared_scale(first.header.config, second.header.config)
    lanes = _recorded_lane(first), _recorded_lane(second)
    pair.draw_race(lanes, scale, "RECORDED", key="live_race", live=False)


def _recorded_lane(trace: Trace) -> pair.Lane:
    status = {"name": "done", "ahead": 0, "message": ""}
    batch = {"from": 0, "events": trace_events(trace), "status": status}
    return pair.Lane(trace_id(trace), trace.header.checkpoint, batch=batch)


def _offer_comparison(race: Race) -> None:
    first, second = (job.trace for job in race.jobs)
    if not race.is_finished or first is None or second is None:
        return
    if st.button(say("race.compare"), icon=":material/compare_arrows:", key="race_compare"):
        state.set_raced_runs((first, second))
        st.switch_page("../pages/compare.py")
