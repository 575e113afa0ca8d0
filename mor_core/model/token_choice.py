"""Token-choice: each token chooses its depth once, before the first recursion, and keeps to it.

While it goes round, a token's state is replaced by the block's output; at its last recursion the output is gated and
added to the state that it came with. Gathered and masked paths as in `expert_choice.py`.

Shapes: B batch, S positions in this call, b and K rows and places of a token set, E hidden size, R recursions.
Source: arXiv 2507.10524, section 2.2.1, equation 2.2; its official code gates the final recursion alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mor_core.model.config import MoRConfig
from mor_core.model.expert_choice import BlockFunction, Observer, forced_depths
from mor_core.model.losses import balancing_loss, router_z_loss
from mor_core.model.routers import TokenChoiceRouter, select_random
from mor_core.model.routing_rules import RoutingRule
from mor_core.model.routing_trace import RecursionStep, RecursionTrace
from mor_core.model.token_set import TokenSet


@dataclass
class TokenChoice:
    """Runs the recursions of one call under one rule. Holds no weights and does not outlive the call.

    Attributes:
        config: of the model.
        rule: who goes how deep; checked against the model by the caller.
        real: the tokens that are not padding.
        position_ids: (B, S).
        gathered: leave inactive tokens out (else compute and drop them).
        training: a control then draws anew in each call, else by a hash of the positions.
        observe: is shown the states after every recursion that somebody entered.
    """

    config: MoRConfig
    rule: RoutingRule
    real: TokenSet
    position_ids: Tensor
    gathered: bool
    training: bool
    observe: Observer | None = None

    def run(
        self, hidden_states: Tensor, router: TokenChoiceRouter, block: BlockFunction
    ) -> tuple[Tensor, RecursionTrace]:
        """Apply the shared block as often as each token chose; (B, S, E) -> (B, S, E) and what was decided."""
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
            own = candidates.gather(logits[..., index])
            trace.steps.append(RecursionStep(candidates, own, own, chosen))
            if active.is_empty:
                break
            output = block(index, active, active.gather(hidden_states))
            gate = active.gather(gates[..., index])[..., None]
            scaled = gate * output if config.router_gating == "weighted" else output
            is_last = active.gather(depths)[..., None] == index + 1
            going_on = scaled if config.router_gated_steps == "every" else output
            new = torch.where(is_last, active.gather(first_states) + scaled, going_on)
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
            given = given_depths(self.config, self.rule, self.position_ids)
        depths = torch.where(given > 0, given, router.chosen_depths(logits))
        return depths.clamp(max=self.rule.ceiling or recursions)


def given_depths(config: MoRConfig, rule: RoutingRule, position_ids: Tensor) -> Tensor:
    """Return the depth that a rule gives each position, 0 where the router's choice counts; (b, K) -> (b, K)."""
    if rule.depth is not None:
        return torch.full_like(position_ids, rule.depth)
    if rule.name == "random" or config.router_control != "none":
        return _drawn_depths(config, rule.seed, position_ids)
    return forced_depths(rule, position_ids)


def _drawn_depths(config: MoRConfig, seed: int, position_ids: Tensor) -> Tensor:
    """Draw depths of equal shares, nested as the recursions are, by a hash of the position; (b, K) -> (b, K)."""
    depths = torch.ones_like(position_ids)
    going = torch.ones_like(position_ids, dtype=torch.bool)
    shares = config.capacity_schedule
    for index in range(1, config.num_recursions):
        share = shares[index] / shares[index - 1]
        going = going & select_random(position_ids, index, share, seed)
        depths = depths + going
    return depths
