"""Presenter mode on the Live page: its switch, larger type, and a card that checks everything before a talk."""

from urllib.parse import urlsplit

import streamlit as st

from app.frame import messages
from app.runs import generation_jobs, resources, session
from app.text.display_names import run_title
from app.text.hidden_words import hidden_words
from app.text.words import say
from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.traces.trace_file import TraceError

POLL_S = 1.0
_GOOD, _DOUBTFUL = ":material/check_circle:", ":material/warning:"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Hides what the audience does not need; the prompt grows with the strip.
_STYLE = """<style>
[data-testid="stHeader"] { display: none; }
[data-testid="stMainBlockContainer"] { padding-top: 1.2rem; max-width: none; }
.st-key-live_prompt textarea { font-size: 1.5rem; line-height: 1.4; }
.st-key-live_run button p, .st-key-live_stop button p { font-size: 1.2rem; }
.st-key-header_language { display: none; }
[data-testid="stMain"]:focus-visible { outline: none; }
</style>"""


def switch() -> None:
    """Draw the switch of presenter mode, and its style while it is on."""
    presents = session.is_presenting()
    st.button(
        say("live.present_leave") if presents else say("live.present"),
        icon=":material/close_fullscreen:" if presents else ":material/present_to_all:",
        key="live_present",
        help=say("live.present_help"),
        type="tertiary",
        on_click=session.set_presenting,
        args=(not presents,),
    )
    if presents:
        st.html(_STYLE)


def card(info: CheckpointInfo, *, streams: bool) -> None:
    """Draw the state of what a talk depends on: the loaded model, a recorded run, the network, the hidden words.

    Args:
        info: the checkpoint that Run would use.
        streams: whether the browser reads tokens from the event route.
    """
    is_cold = resources.held_at(info) is None

    @st.fragment(run_every=POLL_S if is_cold else None)
    def checks() -> None:
        with st.container(border=True, key="live_preflight"):
            st.markdown(f"**{say('live.preflight')}**")
            lines = [
                f"{_GOOD if is_good else _DOUBTFUL} {messages.as_text(text)}"
                for is_good, text in [*findings(info), (streams, _route(streams))]
            ]
            st.markdown("  \n".join(lines))
            if resources.held_at(info) is None:
                st.button(
                    say("live.preflight_load"),
                    key="live_preflight_load",
                    on_click=generation_jobs.load_ahead,
                    args=(info,),
                )
            st.caption(say("live.preflight_keys"))
        if is_cold and resources.held_at(info) is not None:
            st.rerun()  # once: nothing is left to wait for

    checks()


def findings(info: CheckpointInfo) -> list[tuple[bool, str]]:
    """Return each check: whether it passed, and its text."""
    placement = resources.held_at(info)
    if placement is None:
        first = (False, say("live.preflight_cold", name=info.name))
    else:
        text = say(
            "live.preflight_warm", name=info.name, device=placement.device, dtype=placement.dtype
        )
        first = (True, text)
    title = recorded_title(info)
    if title:
        fallback = (True, say("live.preflight_recorded", title=title))
    else:
        fallback = (False, say("live.preflight_no_recorded"))
    host = urlsplit(st.context.url or "").hostname or ""
    if host in LOOPBACK:
        network = (True, say("live.preflight_offline"))
    else:
        network = (False, say("live.preflight_network", host=host))
    words = (True, say("live.preflight_words", count=len(hidden_words())))
    return [first, fallback, network, words]


def recorded_title(info: CheckpointInfo) -> str:
    """Return the title of a checkpoint's first readable recorded run; empty if there is none."""
    for path in resources.recorded_traces(info.path):
        try:
            return run_title(resources.open_trace(path).header.title) or path.name
        except TraceError:
            continue
    return ""


def _route(streams: bool) -> str:
    return say("live.preflight_streams") if streams else say("live.preflight_polls")
