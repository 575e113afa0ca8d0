"""What if: the same prompt and seed under another routing rule, and earlier runs beside the present one."""

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
    request: GenerationRequest, checkpoints: Sequence[CheckpointInfo]
) -> GenerationRequest | None:
    """Let the viewer change the routing of the last run; return the changed request when its Run is pressed.

    Args:
        request: the last run's request.
        checkpoints: used to name those with another KV strategy.
    """
    config = request.checkpoint.config
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
            choice = _thresholds(request.routing, recursions, columns[1:3])
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
            choice = capped(request.routing, depth) if change == CAP else forced(depth)
        runs = columns[3].button(
            say("live.what_if_run"),
            type="primary",
            icon=":material/replay:",
            key="whatif_run",
            width="stretch",
        )
        st.caption(messages.as_text(cache_note(request.checkpoint, checkpoints)))
    return replace(request, routing=choice) if runs else None


def changes_for(router: RouterTraits) -> list[str]:
    """Return the possible changes of a model's routing; only some router types have a threshold."""
    if router.has_threshold:
        return list(CHANGES)
    return [CAP, FORCE] if router.has_router else []


def capped(rule: RoutingRule, depth: int) -> RoutingRule:
    """Return the rule with a maximum depth for every token; a rule that sets depths is replaced by the model's own."""
    return (RoutingRule.causal() if rule.name in GIVES_DEPTHS else rule).capped(depth)


def forced(depth: int) -> RoutingRule:
    """Return the rule that gives every token `depth`, with an open gate because a rejected token's gate is near 0."""
    return RoutingRule.fixed(depth, "open")


def cache_note(info: CheckpointInfo, checkpoints: Sequence[CheckpointInfo]) -> str:
    """State the model's KV strategy and the checkpoints with the other one, which needs weights trained for it."""
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
    """Offer a comparison with an earlier run, and draw both runs and where they diverge."""
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
            format_func=lambda number: run_name(kept[number]),
            key=f"whatif_which_{len(kept)}",
        )
        index = chosen or 0
    compare_view.draw((kept[index], trace), "LIVE", checkpoints)


def run_name(trace: Trace) -> str:
    """Return the name of an earlier run: model, rule and time."""
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
    rule: RoutingRule, recursions: int, columns: Sequence[DeltaGenerator]
) -> RoutingRule:
    # Rules hold scores; rounding recovers the sliders' half steps from them.
    logits = [round(rule.threshold_logit(index), 6) for index in range(recursions)]
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
    own = rule if rule.name == "causal" else RoutingRule.causal()
    return replace(own, thresholds=tuple(map(sigmoid, logits)))
