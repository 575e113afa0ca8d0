"""What if: the same prompt and seed under another rule, and the runs before beside the present one."""

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.frame import messages
from app.frame.routing_controls import GIVES_DEPTHS, THRESHOLD_LOGITS
from app.runs import session
from app.runs.requests import GenerationRequest
from app.text.display_names import routing_label
from app.text.words import say
from app.views import compare_view
from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.common.logistic import sigmoid
from mor_core.model.router_types import RouterTraits, router_traits
from mor_core.model.routing_rules import RoutingRule
from mor_core.traces.trace import Trace

THRESHOLD, CAP, FORCE = CHANGES = "threshold", "cap", "force"


def choose(
    asked: GenerationRequest, checkpoints: Sequence[CheckpointInfo]
) -> GenerationRequest | None:
    """Draw what can be changed about the last run; return the changed request when it is to be run.

    Args:
        asked: what the last run was asked for.
        checkpoints: for naming those with another cache.
    """
    config = asked.checkpoint.config
    with st.expander(say("live.what_if"), icon=":material/science:"):
        st.caption(say("live.what_if_help"))
        changes = changes_for(router_traits(config))
        if not changes:
            st.caption(say("routing.no_router"))
            return None
        columns = st.columns([2, 2, 2, 1.4], vertical_alignment="bottom")
        change = columns[0].selectbox(
            say("live.what_if_change"),
            changes,
            format_func=lambda name: say(f"live.what_if_{name}"),
            key="whatif_change",
            persist_state="session",
        )
        recursions = int(config.get("num_recursions", 1))
        if change == THRESHOLD:
            choice = _thresholds(asked.routing, recursions, columns[1:3])
        else:
            depth = int(
                columns[1].number_input(
                    say("routing.depth"),
                    1,
                    recursions,
                    max(1, recursions - 1),
                    key="whatif_depth",
                    help=say("routing.cap_help") if change == CAP else None,
                )
            )
            choice = capped(asked.routing, depth) if change == CAP else forced(depth)
        runs = columns[3].button(
            say("live.what_if_run"),
            type="primary",
            icon=":material/replay:",
            key="whatif_run",
            width="stretch",
        )
        st.caption(messages.as_text(cache_note(asked.checkpoint, checkpoints)))
    return replace(asked, routing=choice) if runs else None


def changes_for(router: RouterTraits) -> list[str]:
    """Return what can be changed about the routing of a model: a threshold needs scores that one decides by."""
    if router.has_threshold:
        return list(CHANGES)
    return [CAP, FORCE] if router.has_router else []


def capped(asked: RoutingRule, depth: int) -> RoutingRule:
    """Let nobody go deeper than `depth`; up to there the run's rule decides, or the model's own if that gave depths."""
    return (RoutingRule.causal() if asked.name in GIVES_DEPTHS else asked).capped(depth)


def forced(depth: int) -> RoutingRule:
    """Send every token to `depth`; the gate is open, since a rejected token's own gate is near 0."""
    return RoutingRule.fixed(depth, "open")


def cache_note(info: CheckpointInfo, checkpoints: Sequence[CheckpointInfo]) -> str:
    """Say which cache the model has, and where the other one is to be had: it needs weights trained for it."""
    own = str(info.config.get("kv_strategy", "recursion_wise"))
    kind = "own" if own == "recursion_wise" else "shared"
    others = [
        other.name
        for other in checkpoints
        if other.config.get("kv_strategy") not in (None, own)
        and int(other.config.get("num_recursions", 1)) > 1
    ]
    note = say(f"live.what_if_cache_{kind}")
    return f"{note} {say('live.what_if_cache_others', names=', '.join(others))}" if others else note


def compare_with_kept(trace: Trace, checkpoints: Sequence[CheckpointInfo]) -> None:
    """Offer the runs before this one; draw one of them above it with where they part."""
    kept = [run for run in session.kept_runs() if run is not trace]
    if not kept or not st.toggle(
        say("live.compare_previous"), key="whatif_compare", help=say("live.compare_previous_help")
    ):
        return
    index = 0
    if len(kept) > 1:
        chosen = st.selectbox(
            say("live.compare_which"),
            range(len(kept)),
            format_func=lambda place: run_name(kept[place]),
            key=f"whatif_which_{len(kept)}",
        )
        index = chosen or 0
    compare_view.draw((kept[index], trace), "LIVE", checkpoints)


def run_name(trace: Trace) -> str:
    """Name a kept run by its model, its rule and its time."""
    header = trace.header
    rule = header.routing
    depth = [str(rule["depth"])] if rule.get("depth") else []
    return " · ".join(
        [
            header.checkpoint,
            routing_label(rule),
            *depth,
            f"{header.created[11:19]} UTC",
        ]
    )


def _thresholds(
    asked: RoutingRule, recursions: int, columns: Sequence[DeltaGenerator]
) -> RoutingRule:
    # A slider's steps are halves; what a score was made of is that again but for rounding.
    logits = [round(asked.threshold_logit(index), 6) for index in range(recursions)]
    low, high = THRESHOLD_LOGITS
    for index in range(1, recursions):
        logits[index] = columns[(index - 1) % len(columns)].slider(
            say("routing.threshold", number=index + 1),
            low,
            high,
            min(max(logits[index], low), high),
            0.5,
            key=f"whatif_threshold_{index + 1}",
            help=say("routing.threshold_help"),
        )
    own = asked if asked.name == "causal" else RoutingRule.causal()
    return replace(own, thresholds=tuple(map(sigmoid, logits)))
