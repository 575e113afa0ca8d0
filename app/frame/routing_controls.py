"""The widgets of a routing rule, on every page that runs a model; they offer the rules that the model can follow."""

import re
from collections.abc import Mapping
from typing import Any, Literal, cast

import streamlit as st

from app.text.words import say
from mor_core.common.logistic import sigmoid
from mor_core.model.router_types import router_traits
from mor_core.model.routing_rules import RoutingRule

ROUTINGS = ("causal", "top_k", "fixed", "random", "forced")
GIVES_DEPTHS = ("fixed", "forced")  # rules that set depths, which a maximum depth would contradict
THRESHOLD_LOGITS = (-8.0, 8.0)
MAX_SEED = 2**31 - 1


def choose_routing(config: Mapping[str, Any], prefix: str) -> tuple[RoutingRule, str]:
    """Draw the widgets of a routing rule, with keys that start with `prefix`.

    Returns:
        The rule, and a message if the input is invalid (empty if valid). Invalid input gives the model's own rule.
    """
    router = router_traits(config)
    if not router.has_router:
        st.caption(say("routing.no_router"))
        return RoutingRule.causal(), ""
    names = [name for name in ROUTINGS if name != "top_k" or router.has_top_k]
    columns = st.columns([2, 2, 2, 2], vertical_alignment="bottom")
    name = columns[0].selectbox(
        say("routing.routing"),
        names,
        format_func=lambda name: _title(name, config),
        key=f"{prefix}_routing",
        help=say("routing.routing_help"),
        persist_state="session",
    )
    recursions = int(config.get("num_recursions", 1))
    choice: dict[str, Any] = {"name": name}
    problem = ""
    if name == "causal" and router.has_threshold:
        choice["thresholds"] = _thresholds(config, recursions, columns[1:], prefix)
    if name == "fixed":
        choice["depth"] = int(
            columns[1].number_input(
                say("routing.depth"), 1, recursions, recursions, key=f"{prefix}_depth"
            )
        )
    if name == "random":
        label, key = say("routing.seed"), f"{prefix}_routing_seed"
        choice["seed"] = int(columns[1].number_input(label, 0, MAX_SEED, 0, key=key))
    if name == "forced":
        label, explained = say("routing.depths"), say("routing.forced_help")
        text = columns[1].text_input(label, "3 1 -", key=f"{prefix}_depths", help=explained)
        choice["depths"], problem = read_depths(text, recursions)
    if name in ("fixed", "random", "forced"):
        gate = columns[2].selectbox(
            say("routing.gate"),
            ["learned", "open"],
            format_func=lambda gate: say(f"routing.gate_{gate}"),
            key=f"{prefix}_gate",
            help=say("glossary.gate"),
        )
        choice["gate"] = cast(Literal["learned", "open"], gate)
    if name not in GIVES_DEPTHS:
        choice["max_depth"] = columns[3].selectbox(
            say("routing.cap"),
            [None, *range(1, recursions)],
            format_func=lambda depth: say("routing.cap_none") if depth is None else str(depth),
            key=f"{prefix}_cap",
            help=say("routing.cap_help"),
        )
    return (RoutingRule.causal(), problem) if problem else (RoutingRule(**choice), "")


def read_depths(text: str, recursions: int) -> tuple[tuple[int | None, ...], str]:
    """Parse depths separated by spaces or commas, `-` for a free token; return them and a message if invalid."""
    parts = re.split(r"[\s,]+", text.strip())
    for position, part in enumerate(parts):
        if part != "-" and not (
            part.isascii() and part.isdigit() and 1 <= int(part[:4]) <= recursions
        ):
            value = repr(part[:20])
            return (), say(
                "routing.forced_problem", recursions=recursions, value=value, position=position
            )
    return tuple(None if part == "-" else int(part) for part in parts), ""


def _thresholds(
    config: Mapping[str, Any], recursions: int, columns: list[Any], prefix: str
) -> tuple[float, ...]:
    """Draw a slider for every recursion with a threshold; return one threshold logit per recursion."""
    factors = config.get("capacity_factors")
    takes_all = factors is None or factors[0] >= 1
    logits = [0.0] * recursions
    deciding = range(1 if takes_all else 0, recursions)
    for number, index in enumerate(deciding):
        logits[index] = columns[number % len(columns)].slider(
            say("routing.threshold", number=index + 1),
            *THRESHOLD_LOGITS,
            0.0,
            0.5,
            key=f"{prefix}_threshold_{index + 1}",
            help=say("routing.threshold_help"),
            persist_state="session",
        )
    return tuple(map(sigmoid, logits))


def _title(name: str, config: Mapping[str, Any]) -> str:
    """Return a rule's title, which depends on the model."""
    if name == "causal" and router_traits(config).chooses_once:
        return say("routing.own_depth")
    if name == "causal" and config.get("router_supervision") == "aux_router":
        return say("routing.aux_router")
    return say(f"routing.rule_{name}")
