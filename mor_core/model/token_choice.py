"""Token-choice: each token chooses its depth once, before the first recursion.

Before its last recursion, a token's state is replaced by the block's output; at its last recursion the output is gated
and added to its state before recursion 1. Gathered and masked paths as in `expert_choice.py`.

Shapes: B batch, S positions in this call, b and K rows and entries of a token set, E hidden size, R recursions.
Source: arXiv 2507.10524, section 2.2.1, equation 2.2; the official code gates the final recursion only.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mor_core.common.logistic import sigmoid
from mor_core.model.config import MoRConfig
from mor_core.model.losses import balancing_loss, router_z_loss
from mor_core.model.random_draws import select_random
from mor_core.model.routers import (
    BlockFunction,
    RoutedCall,
    RoutedRecursions,
    Router,
    forced_depths,
    router_network,
)
from mor_core.model.routing_rules import Gate, RoutingRule
from mor_core.model.routing_trace import RecursionStep, RecursionTrace


class TokenChoiceRouter(Router):
    """The single router of a token-choice model: it scores all depths for each token once, before recursion 1.

    The bias of loss-free balancing affects the selection only; the trainer updates it after each step.

    Source: arXiv 2507.10524, section 2.2.1, equation 2.2; arXiv 2408.15664 (loss-free balancing).
    """

    bias: Tensor | None

    def __init__(self, config: MoRConfig) -> None:
        super().__init__(config)
        self.network = router_network(config)
        loss_free = config.router_balancing == "loss_free"
        self.register_buffer("bias", torch.zeros(config.num_recursions) if loss_free else None)

    @classmethod
    def recur(
        cls,
        call: RoutedCall,
        hidden_states: Tensor,
        routers: Sequence["TokenChoiceRouter"],
        block: BlockFunction,
    ) -> tuple[Tensor, RecursionTrace, dict[str, Tensor]]:
        choice = TokenChoice(call)
        (router,) = routers
        hidden_states, trace = choice.run(hidden_states, router, block)
        return hidden_states, trace, choice.losses(router, trace) if call.supervised else {}

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Score every depth; (b, K, E) -> logits (b, K, R), float32."""
        return self.network(hidden_states / self.temperature).float()  # type: ignore[no-any-return]

    def scores(self, logits: Tensor) -> Tensor:
        """Apply the activation over the last axis, before alpha."""
        return logits.softmax(dim=-1) if self.activation == "softmax" else logits.sigmoid()

    def token_scores(self, logits: Sequence[float]) -> list[float]:
        """Compute `scores` for one token's logits as Python floats; such small tensors take ten times as long."""
        if self.activation != "softmax":
            return list(map(sigmoid, logits))
        largest = max(logits)
        weights = [math.exp(logit - largest) for logit in logits]
        total = sum(weights)
        return [weight / total for weight in weights]

    def gate(self, logits: Tensor, kind: Gate) -> Tensor:
        """Return the factor of each depth for the block's output; (..., R) -> (..., R)."""
        if kind == "open":
            return torch.full_like(logits, self.alpha)
        return self.alpha * self.scores(logits)

    def chosen_depths(self, logits: Tensor) -> Tensor:
        """Return each token's most probable depth, 1 to R; (b, K, R) -> (b, K)."""
        scores = self.alpha * self.scores(logits)
        if self.bias is not None:
            scores = scores + self.bias
        return scores.argmax(dim=-1) + 1

    @torch.no_grad()
    def move_bias(self, depth_counts: Tensor, rate: float) -> None:
        """Raise the bias of depths that got less than an even share by `rate`, lower the others; depth_counts (R,)."""
        assert self.bias is not None, 'move_bias needs router_balancing="loss_free"'
        self.bias += rate * torch.sign(depth_counts.mean() - depth_counts).to(self.bias)


class TokenChoice(RoutedRecursions):
    """The recursions of token-choice: one router gives each token its depth before the first."""

    def run(
        self, hidden_states: Tensor, router: TokenChoiceRouter, block: BlockFunction
    ) -> tuple[Tensor, RecursionTrace]:
        """Apply the shared block as often as each token chose; (B, S, E) -> (B, S, E) and the routing trace."""
        config = self.config
        first_states = hidden_states
        logits = router(first_states)  # (B, S, R)
        depths = self._depths(router, logits)  # (B, S)
        gates = router.gate(logits, self.rule.gate).to(hidden_states.dtype)  # (B, S, R)
        trace = RecursionTrace(
            len(hidden_states),
            config.num_recursions,
            router,
            self.real,
            hidden_states.device,
            depth_logits=logits,
        )
        candidates = self.real
        for index in range(config.num_recursions):
            chosen = candidates.gather(depths) > index
            active = candidates
            if index > 0:
                active = candidates.keep(chosen, gathered=self.gathered)
            elif candidates.valid is not None:
                chosen = chosen & candidates.valid
            step_logits = candidates.gather(logits[..., index])
            trace.steps.append(RecursionStep(candidates, step_logits, step_logits, chosen))
            if active.is_empty:
                break
            output = block(index, active, active.gather(hidden_states))
            gate = active.gather(gates[..., index])[..., None]
            scaled = gate * output if config.router_gating == "weighted" else output
            is_last = active.gather(depths)[..., None] == index + 1
            continuing = scaled if config.router_gated_steps == "every" else output
            new = torch.where(is_last, active.gather(first_states) + scaled, continuing)
            hidden_states = active.put(hidden_states, new)
            if self.observe is not None:
                self.observe(hidden_states)
            candidates = active
        return hidden_states, trace

    def losses(self, router: TokenChoiceRouter, trace: RecursionTrace) -> dict[str, Tensor]:
        """Return the loss terms that train the router."""
        logits = trace.depth_logits
        assert logits is not None
        terms = {"z": router_z_loss(logits, self.real.valid)}
        if router.bias is None and self.config.router_control == "none":
            weights = router.gate(logits, "learned")
            terms["balancing"] = balancing_loss(weights, trace.depth(), self.real.valid)
        return terms

    def _depths(self, router: TokenChoiceRouter, logits: Tensor) -> Tensor:
        """Return every token's depth, 1 to R; (B, S, R) -> (B, S)."""
        recursions = self.config.num_recursions
        is_control = self.config.router_control != "none"
        if self.training and is_control and self.rule.name not in ("fixed", "random"):
            given = torch.randint(1, recursions + 1, logits.shape[:2], device=logits.device)
        else:
            given = given_depths(self.config, self.rule, self.position_ids, self.draw_keys)
        depths = torch.where(given > 0, given, router.chosen_depths(logits))
        return depths.clamp(max=self.rule.ceiling or recursions)


def given_depths(
    config: MoRConfig, rule: RoutingRule, position_ids: Tensor, keys: Tensor
) -> Tensor:
    """Return the depth that a rule sets for each position, 0 where the router decides; (b, K) -> (b, K).

    `keys` (b, K) are those of `random_draws.draw_keys`.
    """
    if rule.depth is not None:
        return torch.full_like(position_ids, rule.depth)
    if rule.name == "random" or config.router_control != "none":
        return _random_depths(config, rule.seed, keys)
    return forced_depths(rule, position_ids)


def _random_depths(config: MoRConfig, seed: int, keys: Tensor) -> Tensor:
    """Return random depths, equally many of each, nested by recursion; (b, K) -> (b, K)."""
    depths = torch.ones_like(keys)
    enters = torch.ones_like(keys, dtype=torch.bool)
    shares = config.capacity_schedule
    for index in range(1, config.num_recursions):
        share = shares[index] / shares[index - 1]
        enters = enters & select_random(keys, index, share, seed)
        depths = depths + enters
    return depths
