"""The base class of routers, and what the router types share: networks, random routing, a call's routing settings.

Each type has its own file, named in `router_types.py`; the routing rules are in `routing_rules.py`.

Shapes: B batch, S positions in this call, b rows, K candidates of a recursion, E hidden size, R recursions.
Source: arXiv 2507.10524, section 2.2.1, equations 2.1 and 2.2.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mor_core.model.config import MoRConfig
from mor_core.model.routing_rules import Gate, RoutingRule
from mor_core.model.token_set import TokenSet

if TYPE_CHECKING:
    from mor_core.model.routing_trace import RecursionTrace

BlockFunction = Callable[[int, TokenSet, Tensor], Tensor]
"""(recursion_idx, tokens, their states (b, K, E)) -> the block's output (b, K, E)."""
Observer = Callable[[Tensor], None]
"""Called with all states (B, S, E) after a recursion."""


@dataclass(frozen=True)
class RoutedCall:
    """The routing settings of one model call.

    Attributes:
        config: the model's configuration.
        rule: the routing rule; the caller has checked it against the model.
        real: the tokens that are not padding.
        position_ids: (B, S), positions in the sequence.
        draw_keys: (B, S), the keys of `random_draws.draw_keys`, for random routing and controls.
        gathered: leave inactive tokens out (else compute and drop them).
        supervised: also compute the losses that train the routers.
        training: a control then draws new random numbers in each call; else it hashes position and text.
        observe: called with the states after every recursion that a token entered.
    """

    config: MoRConfig
    rule: RoutingRule
    real: TokenSet
    position_ids: Tensor
    draw_keys: Tensor
    gathered: bool
    supervised: bool
    training: bool
    observe: Observer | None = None


class RoutedRecursions:
    """Runs the recursions of one call under one routing rule. Holds no weights and is used for one call only."""

    def __init__(self, call: RoutedCall) -> None:
        self.config = call.config
        self.rule = call.rule
        self.real = call.real
        self.position_ids = call.position_ids
        self.draw_keys = call.draw_keys
        self.gathered = call.gathered
        self.supervised = call.supervised
        self.training = call.training
        self.observe = call.observe


class Router(nn.Module, ABC):
    """A network from hidden states to logits, an activation that makes scores of them, and a gate."""

    network: nn.Module
    aux_network: nn.Module | None

    def __init__(self, config: MoRConfig) -> None:
        super().__init__()
        self.activation = config.router_activation
        self.alpha = float(config.router_alpha)
        self.temperature = float(config.router_temperature)
        self.aux_network = None

    @abstractmethod
    def scores(self, logits: Tensor) -> Tensor:
        """Apply the activation, before alpha."""

    @abstractmethod
    def token_scores(self, logits: Sequence[float]) -> list[float]:
        """Compute `scores` for one token's logits as Python floats; such small tensors take ten times as long."""

    @abstractmethod
    def gate(self, logits: Tensor, kind: Gate) -> Tensor:
        """Return the factor for the block's output, of the shape of the logits."""

    @classmethod
    @abstractmethod
    def recur(
        cls, call: RoutedCall, hidden_states: Tensor, routers: Sequence[Any], block: BlockFunction
    ) -> "tuple[Tensor, RecursionTrace, dict[str, Tensor]]":
        """Apply the shared block as routers of this type decide.

        Args:
            call: the routing settings.
            hidden_states: (B, S, E).
            routers: the model's routers, all of this class.
            block: the shared block.

        Returns:
            States (B, S, E), the routing trace, and the losses that train the routers.
        """


def router_class(config: MoRConfig) -> type[Router]:
    """Return the class of a model's routers; the model must have a router."""
    module, _, name = config.router.implementation.partition(":")
    found: type[Router] = getattr(importlib.import_module(module), name)
    return found


def make_routers(config: MoRConfig) -> nn.ModuleList:
    """Build a model's routers: one per recursion, or one in total."""
    count = config.router.num_routers(vars(config))
    return nn.ModuleList(router_class(config)(config) for _ in range(count))


def router_network(config: MoRConfig) -> nn.Module:
    """Build a network from a hidden state to logits; no biases, as in the official code."""
    matrices = [
        nn.Linear(width, outputs, bias=False)
        for width, outputs in pairwise(config.router.shape(vars(config)))
    ]
    if len(matrices) == 1:
        return matrices[0]
    first, last = matrices
    return nn.Sequential(first, nn.GELU(), last)


def forced_depths(rule: RoutingRule, position_ids: Tensor) -> Tensor:
    """Return the depth that a forced rule sets for each position, 0 where the router decides; (b, K) -> (b, K)."""
    given = torch.tensor([*(depth or 0 for depth in rule.depths), 0], device=position_ids.device)
    return given[position_ids.clamp(max=len(given) - 1)]
