"""The Race on the Live page: one prompt and one seed, two checkpoints generating at the same time."""

import os
from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from app.components import pair
from app.frame import messages
from app.runs import generation_jobs, session
from app.runs.polling import batch
from app.runs.requests import GenerationRequest
from app.runs.session import Race
from app.runs.stream import stream_url
from app.tables.depth_scale import Scale, shared_scale
from app.text.words import say
from app.views import controls
from app.views.compare_picker import counterpart, recorded_runs
from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.model.router_types import router_traits
from mor_core.model.routing_rules import RoutingRule
from mor_core.server.jobs import Job
from mor_core.traces.events import recorded_batch, trace_id
from mor_core.traces.trace import Trace

ONE, RACE = MODES = "one", "race"
RACE_KEY = "live_race"


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
    """Let the viewer choose run A's checkpoint; B has the settings' checkpoint. `None` if there is no other.

    A follows its own routing rule, the one it was trained for.
    """
    if request is None:
        return None
    others = [info for info in checkpoints if info.path != request.checkpoint.path]
    if not others:
        messages.show_info(say("race.no_other"))
        return None
    names = [info.name for info in others]
    name = st.selectbox(
        say("race.opponent", name=request.checkpoint.name),
        names,
        index=names.index(plainest(others).name),
        key="race_opponent",
        persist_state="session",
        width=400,
    )
    return replace(request, checkpoint=others[names.index(name)], routing=RoutingRule.causal())


def plainest(others: Sequence[CheckpointInfo]) -> CheckpointInfo:
    """Return the first plain Transformer, else the first model without a router, else the first model."""

    def what_it_has(info: CheckpointInfo) -> tuple[bool, bool]:
        config = info.config
        has_more = config.get("num_recursions", 1) > 1 or config.get("num_experts", 1) > 1
        return router_traits(config).has_router, has_more

    return min(others, key=what_it_has)


def transport(requests: tuple[GenerationRequest, GenerationRequest] | None) -> bool:
    """Draw the buttons; return whether they show the race as running. Only Stop ends it."""
    race = session.race()
    is_running = race is not None and not race.is_finished
    starts, stops = controls.run_and_stop(
        "race", "start", is_running=is_running, can_start=requests is not None
    )
    if starts and requests is not None:
        _start(requests)
        st.rerun()
    if stops and race is not None:
        for job in race.jobs:
            job.cancel()
    return is_running


def panel(checkpoints: Sequence[CheckpointInfo], *, shown_running: bool) -> None:
    """Draw the race, or two recorded runs before the first race.

    Args:
        checkpoints: the checkpoints whose recorded runs may be drawn.
        shown_running: whether the buttons show a running race; the page reruns once it is over.
    """
    with st.container():  # also when empty, so that the lanes below do not move
        if session.live_message():
            messages.show_error(session.live_message())
    race = session.race()

    @st.fragment
    def race_panel() -> None:
        if (
            race is None
        ):  # inside the fragment too, so that the lanes do not move when the first race starts
            _recorded(checkpoints)
            return
        if shown_running and race.is_finished:
            st.rerun()  # once, to enable Start and offer the comparison
        if _draw(race, _scale(race, checkpoints)).unreachable and _streams():
            session.set_stream_unreachable()
            st.rerun()

    race_panel()
    if race is not None:
        _offer_comparison(race)


def _start(requests: tuple[GenerationRequest, GenerationRequest]) -> None:
    problem = next(filter(None, map(controls.request_problem, requests)), "")
    session.set_live_message(problem)
    if problem:
        return
    first, second = requests
    jobs = generation_jobs.start(first, "race_a"), generation_jobs.start(second, "race_b")
    session.set_race(jobs, (first.checkpoint.name, second.checkpoint.name))


def _streams() -> bool:
    """Whether this browser reads events from the event route, which only `asgi.py` serves."""
    return os.environ.get("MOR_STREAM") == "1" and not session.is_stream_unreachable()


def _draw(race: Race, scale: Scale) -> pair.RaceState:
    first, second = map(_lane, race.jobs, race.names)
    return pair.draw_race((first, second), scale, "LIVE", key=RACE_KEY, live=True)


def _lane(job: Job, name: str) -> pair.Lane:
    if _streams():
        return pair.Lane(job.id, name, stream=stream_url(job))
    return pair.Lane(job.id, name, batch=batch(job, session.asks(RACE_KEY)))


def _scale(race: Race, checkpoints: Sequence[CheckpointInfo]) -> Scale:
    configs = {info.name: info.config for info in checkpoints}
    first, second = (configs.get(name, {}) for name in race.names)
    return shared_scale(first, second)


def _recorded(checkpoints: Sequence[CheckpointInfo]) -> None:
    found = recorded_runs(checkpoints)
    names = list(found)
    if len(names) < 2:
        messages.show_info(say("race.no_recorded_run"))
        return
    second = messages.opened_trace(found[names[0]])
    first = messages.opened_trace(found[counterpart(names[0], names)])
    if first is None or second is None:
        return
    scale = shared_scale(first.header.config, second.header.config)
    lanes = _recorded_lane(first), _recorded_lane(second)
    pair.draw_race(lanes, scale, "RECORDED", key=RACE_KEY, live=False)


def _recorded_lane(trace: Trace) -> pair.Lane:
    return pair.Lane(trace_id(trace), trace.header.checkpoint, batch=recorded_batch(trace))


def _offer_comparison(race: Race) -> None:
    first, second = (job.trace for job in race.jobs)
    if not race.is_finished or first is None or second is None:
        return
    if st.button(say("race.compare"), icon=":material/compare_arrows:", key="race_compare"):
        session.set_raced_runs((first, second))
        st.switch_page("../pages/compare.py")
