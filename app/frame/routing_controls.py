"""The widgets of a routing rule, the same on every page that runs a model; offers what the checkpoint can follow."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import streamlit as st

from app.text.words import say
from mor_core.common.logistic import sigmoid

if TYPE_CHECKING:
    from mor_core.model.routing_rules import RoutingRule

ROUTINGS = ("causal", "top_k", "fixed", "random", "forced")
GIVES_DEPTHS = ("fixed", "forced")  # a cap would contradict them
THRESHOLD_LOGITS = (-8.0, 8.0)
MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class RoutingChoice:
    """A routing rule as the widgets say it; plain data, so that choosing one imports no model code.

    Attributes:
        name: of the rule, as `mor eval --routing` takes it; `causal` is the model's own.
        gate: what scales the block's output.
        threshold_logits: for the causal rule, one a recursion or one for all; 0 is a score of 0.5.
        depth: for `fixed`.
        seed: for `random`.
        depths: for `forced`, by position; `None` leaves a token free.
        max_depth: nobody goes deeper; not for rules that give depths.
        problem: what is wrong with it, in words; empty if it can be run.
    """

    name: Literal["causal", "top_k", "fixed", "random", "forced"] = "causal"
    gate: Literal["learned", "open"] = "learned"
    threshold_logits: tuple[float, ...] = (0.0,)
    depth: int | None = None
    seed: int = 0
    depths: tuple[int | None, ...] = ()
    max_depth: int | None = None
    problem: str = ""

    def rule(self) -> "RoutingRule":
        """Build the rule; imports the model's code."""
        from mor_core.model.routing_rules import RoutingRule

        thresholds = tuple(map(sigmoid, self.threshold_logits))
        rule = RoutingRule(self.name, self.gate, thresholds, self.depth, self.seed, self.depths)
        return rule.capped(self.max_depth)


def choose_routing(config: Mapping[str, Any], prefix: str) -> RoutingChoice:
    """Draw the rule's widgets, their keys beginning with `prefix`, and return what they say."""
    kind = config.get("router_type", "none")
    if kind == "none":
        st.caption(say("routing.no_router"))
        return RoutingChoice()
    names = [name for name in ROUTINGS if name != "top_k" or kind == "expert_choice"]
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
    if name == "causal" and kind == "expert_choice":
        choice["threshold_logits"] = _thresholds(config, recursions, columns[1:], prefix)
    if name == "fixed":
        choice["depth"] = int(
            columns[1].number_input(
                say("routing.depth"), 1, recursions, recursions, key=f"{prefix}_depth"
            )
        )
    if name == "random":
        choice["seed"] = int(
            columns[1].number_input(
                say("routing.seed"), 0, MAX_SEED, 0, key=f"{prefix}_routing_seed"
            )
        )
    if name == "forced":
        text = columns[1].text_input(
            say("routing.depths"),
            "3 1 -",
            key=f"{prefix}_depths",
            help=say("routing.forced_help"),
        )
        choice["depths"], choice["problem"] = read_depths(text, recursions)
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
    return RoutingChoice(**choice)


def read_depths(text: str, recursions: int) -> tuple[tuple[int | None, ...], str]:
    """Read depths with spaces or commas between, `-` for a free token; return them, or what is wrong."""
    parts = re.split(r"[\s,]+", text.strip())
    for place, part in enumerate(parts):
        if part != "-" and not (
            part.isascii() and part.isdigit() and 1 <= int(part[:4]) <= recursions
        ):
            value = repr(part[:20])
            return (), say(
                "routing.forced_problem", recursions=recursions, value=value, place=place
            )
    return tuple(None if part == "-" else int(part) for part in parts), ""


def _thresholds(
    config: Mapping[str, Any], recursions: int, columns: list[Any], prefix: str
) -> tuple[float, ...]:
    """Draw one slider for every recursion that a threshold decides; return a logit for each recursion."""
    factors = config.get("capacity_factors")
    takes_all = factors is None or factors[0] >= 1
    logits = [0.0] * recursions
    deciding = range(1 if takes_all else 0, recursions)
    for place, index in enumerate(deciding):
        logits[index] = columns[place % len(columns)].slider(
            say("routing.threshold", number=index + 1),
            *THRESHOLD_LOGITS,
            0.0,
            0.5,
            key=f"{prefix}_threshold_{index + 1}",
            help=say("routing.threshold_help"),
            persist_state="session",
        )
    return tuple(logits)


def _title(name: str, config: Mapping[str, Any]) -> str:
    """Name a rule by what it does on this model."""
    if name == "causal" and config.get("router_type") == "token_choice":
        return say("routing.own_depth")
    if name == "causal" and config.get("router_supervision") == "aux_router":
        return say("routing.aux_router")
    return say(f"routing.rule_{name}")
