"""The Live page's input widgets, collected into one frozen request. Starts and computes nothing."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app.frame import messages
from app.frame.routing_controls import choose_routing
from app.runs import resources, session
from app.runs.requests import GenerationRequest
from app.text.display_names import run_title
from app.text.words import say
from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.traces.presets import PRESETS

MAX_PROMPT_CHARACTERS = (
    20_000  # far above any context of the bundled models; tokens are counted by the model
)


def run_and_stop(page: str, start: str, *, is_running: bool, can_start: bool) -> tuple[bool, bool]:
    """Draw the start and the stop button; return whether each was pressed.

    Args:
        page: the page's name, the prefix of the buttons' words and keys.
        start: name of the start button in the words.
        is_running: whether only the stop button is enabled.
        can_start: whether there is something to start.
    """
    starts = st.button(
        say(f"{page}.{start}"),
        type="primary",
        icon=":material/play_arrow:",
        key=f"{page}_{start}",
        shortcut="Mod+Enter",
        width="stretch",
        disabled=is_running or not can_start,
    )
    stops = st.button(
        say("live.stop"),
        icon=":material/stop:",
        key=f"{page}_stop",
        shortcut="Alt+Enter",
        width="stretch",
        disabled=not is_running,
    )
    return starts, stops


def request_problem(request: GenerationRequest) -> str:
    """Return what is wrong with a request; empty if it is valid."""
    return prompt_problem(request.prompt) or request.routing_problem


def prompt_problem(prompt: str) -> str:
    """Return what is wrong with a prompt; empty if it is valid."""
    if not prompt.strip():
        return say("live.prompt_empty")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        return say(
            "live.prompt_long", limit=f"{MAX_PROMPT_CHARACTERS:,}", length=f"{len(prompt):,}"
        )
    return ""


def prompt_field() -> str:
    """Draw the presets and the prompt, and return the prompt."""
    if session.prompt() is None:
        session.set_prompt(PRESETS[0].prompt)
    st.pills(
        say("live.presets"),
        [preset.title for preset in PRESETS],
        format_func=run_title,
        key=session.PRESET,
        on_change=_take_preset,
        persist_state="session",
        label_visibility="collapsed",
    )
    return st.text_area(
        say("live.prompt"),
        key=session.PROMPT,
        height=70,
        placeholder=say("live.placeholder"),
        persist_state="session",
        label_visibility="collapsed",
    )


def settings(checkpoints: Sequence[CheckpointInfo], prompt: str) -> GenerationRequest:
    """Draw the checkpoint and sampling controls; return the request from them and the prompt."""
    names = [info.name for info in checkpoints]
    # Not an expander: the browser draws a popover's widgets only when it opens, so the page paints sooner.
    with st.popover(say("live.settings"), icon=":material/tune:", width="stretch"):
        columns = st.columns([2.2, 1.1, 1.1, 1.1, 1.1], vertical_alignment="bottom")
        name = columns[0].selectbox(
            say("frame.checkpoint"), names, key="live_checkpoint", persist_state="session"
        )
        tokens = columns[1].number_input(say("live.tokens"), 1, 2048, 160, 16, **_help("tokens"))
        temperature = columns[2].number_input(
            say("live.temperature"), 0.0, 2.0, 0.7, 0.1, **_help("temperature")
        )
        top_k = columns[3].number_input(say("live.top_k"), 0, 4096, 50, 10, **_help("top_k"))
        seed = columns[4].number_input(say("live.seed"), 0, 2**31 - 1, 1, **_help("seed"))
        info = checkpoints[names.index(name)]
        routing, problem = choose_routing(info.config, "live")
        for problem in resources.checkpoint_problems():
            messages.show_warning(say("frame.left_out", problem=problem))
    return GenerationRequest(
        checkpoint=info,
        prompt=prompt,
        max_new_tokens=int(tokens),
        temperature=float(temperature),
        top_k=int(top_k),
        seed=int(seed),
        routing=routing,
        routing_problem=problem,
    )


def _help(name: str) -> dict[str, Any]:
    return {"key": f"live_{name}", "help": say(f"live.{name}_help"), "persist_state": "session"}


def _take_preset() -> None:
    for preset in PRESETS:
        if preset.title == session.preset_title():
            session.set_prompt(preset.prompt)
