"""The router types as data: what each can do, which settings belong to it, and how many weights it has.

Code that treats routers differently checks here what a type can do, not its name. `implementation` names the class
that computes; each class has its own file. Imports neither torch nor transformers, so that traces, tables and pages can
use it too; settings are therefore a mapping: a `config.json` or `vars(config)`.

Source: arXiv 2507.10524, section 2.2.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from mor_core.common.field_rules import must, must_fit
from mor_core.common.json_checks import is_count, is_text

_FLAG = must("be true or false", lambda value: isinstance(value, bool))
_LOGITS = must_fit(
    lambda trace_header: f"be 0 to {trace_header.num_recursions}",
    lambda value, trace_header: is_count(value) and value <= trace_header.num_recursions,
)
RouterName = Literal["none", "expert_choice", "token_choice"]


@dataclass(frozen=True)
class RouterTraits:
    """What the routers of a model can do, as stored in traces and sent to the browser.

    Attributes:
        type: the name of the type, `none` for a model whose tokens all take every recursion.
        chooses_once: one router scores all depths before recursion 1 and its scores are a distribution over depths;
            else each recursion has a router, which scores the tokens that reached it.
        has_threshold: under the causal rule, a token enters a recursion if its score is at or above a threshold.
        has_top_k: training selects the top-k tokens of a sequence, up to the capacity of each recursion.
        num_logits: logits of one router for one token; 0 without a router.
    """

    type: str = field(metadata=must("be text", is_text))
    chooses_once: bool = field(metadata=_FLAG)
    has_threshold: bool = field(metadata=_FLAG)
    has_top_k: bool = field(metadata=_FLAG)
    num_logits: int = field(metadata=_LOGITS)

    @property
    def has_router(self) -> bool:
        """Whether tokens choose their depth."""
        return self.num_logits > 0


@dataclass(frozen=True)
class RouterType:
    """One type of router: its name, its class, what it can do and what it accepts.

    Attributes:
        name: as in `config.json`.
        title: as in messages.
        implementation: module and class of the router; empty for `none`.
        chooses_once: as in `RouterTraits`, like the two that follow.
        has_threshold: as in `RouterTraits`.
        has_top_k: as in `RouterTraits`.
        is_compiled: ahead-of-time compilation supports it; its logit is that of `router_network`.
        can_go_deeper: the last recursion's router can score more recursions than were trained.
        activations: accepted for `router_activation`.
        controls: accepted for `router_control`.
        networks: accepted for `router_network`.
        fields: configuration fields that belong to this type and not to all.
        min_recursions: the fewest recursions that it works with.
    """

    name: RouterName
    title: str
    implementation: str = ""
    chooses_once: bool = False
    has_threshold: bool = False
    has_top_k: bool = False
    is_compiled: bool = False
    can_go_deeper: bool = True
    activations: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    networks: tuple[str, ...] = ("linear", "mlp", "wide_mlp")
    fields: tuple[str, ...] = ()
    min_recursions: int = 1

    def num_routers(self, config: Mapping[str, Any]) -> int:
        """Return how many routers a model has: one in total, or one per recursion."""
        if not self.implementation:
            return 0
        return 1 if self.chooses_once else int(config["num_recursions"])

    def num_logits(self, config: Mapping[str, Any]) -> int:
        """Return how many logits a router computes per token."""
        if not self.implementation:
            return 0
        return int(config["num_recursions"]) if self.chooses_once else 1

    def num_networks(self, config: Mapping[str, Any]) -> int:
        """Return how many networks a router has: two with an auxiliary one."""
        return 2 if config.get("router_supervision") == "aux_router" else 1

    def shape(self, config: Mapping[str, Any]) -> list[int]:
        """Return the widths of a router's network, from hidden state to logits.

        `wide_mlp` is four times as wide as the hidden state, as the paper's Appendix G.1 says; in the official code
        it is no wider than `mlp`.
        """
        hidden = int(config["hidden_size"])
        inner = {"linear": [], "mlp": [2 * hidden], "wide_mlp": [4 * hidden]}
        return [hidden, *inner[config["router_network"]], self.num_logits(config)]

    def num_weights(self, config: Mapping[str, Any]) -> int:
        """Count the weights of one router; each is used in one multiply-add per token that it scores."""
        one = sum(first * second for first, second in pairwise(self.shape(config)))
        return self.num_networks(config) * one

    def traits(self, config: Mapping[str, Any]) -> RouterTraits:
        """Return what this type can do on a model, as plain data."""
        return RouterTraits(
            type=self.name,
            chooses_once=self.chooses_once,
            has_threshold=self.has_threshold,
            has_top_k=self.has_top_k,
            num_logits=self.num_logits(config),
        )


ROUTER_TYPES: dict[str, RouterType] = {
    kind.name: kind
    for kind in (
        RouterType("none", "no router"),
        RouterType(
            "expert_choice",
            "expert-choice",
            "mor_core.model.expert_choice:ExpertChoiceRouter",
            has_threshold=True,
            has_top_k=True,
            is_compiled=True,
            activations=("sigmoid", "tanh", "none"),
            controls=("none", "random_selection", "random_scores"),
            fields=("capacity_factors", "router_supervision", "router_depth_price_coef"),
        ),
        RouterType(
            "token_choice",
            "token-choice",
            "mor_core.model.token_choice:TokenChoiceRouter",
            chooses_once=True,
            can_go_deeper=False,  # its router has no logits for further depths
            activations=("softmax", "sigmoid"),
            controls=("none", "random_selection"),
            fields=("router_balancing", "router_gated_steps"),
            min_recursions=2,
        ),
    )
}


def router_traits(config: Mapping[str, Any]) -> RouterTraits:
    """Return what the routers of a model can do, from its `config.json`.

    An unknown type is taken for a router without further abilities; loading the model reports the error.
    """
    name = str(config.get("router_type", "none"))
    kind = ROUTER_TYPES.get(name)
    if kind is None:
        return RouterTraits(name, False, False, False, num_logits=1)
    return kind.traits({"num_recursions": 1, **config})
