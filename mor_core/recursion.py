"""The idea itself: route, run the shared block on the active tokens, gate what it adds, and go round again.

Two ways to compute the same thing: gathered (inactive tokens are left out) and masked (everything is computed and the
inactive ones dropped: the slow twin that tests hold the other against).

Shapes: B batch, S positions in this call, b and K rows and places of a token set, E hidden size, R recursions.
Source: arXiv 2507.10524, section 2.2.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mor_core.config import MoRConfig
from mor_core.losses import auxiliary_loss, router_z_loss
from mor_core.routing import (
    ExpertChoiceRouter,
    RoutingRule,
    select_causal,
    select_random,
    select_top_k,
)
from mor_core.tokens import TokenSet

BlockFunction = Callable[[int, TokenSet, Tensor], Tensor]
"""(recursion_idx, tokens, their states (b, K, E)) -> the block's output (b, K, E)."""


@dataclass
class RecursionStep:
    """What one recursion decided.

    Attributes:
        candidates: the tokens that the router judged.
        logits: (b, K) for the candidates.
        chosen: (b, K) which of them went on.
    """

    candidates: TokenSet
    logits: Tensor
    chosen: Tensor


@dataclass
class RecursionTrace:
    """Every decision of one call. Dense views are made when asked for, so that training does not pay for them."""

    batch_size: int
    num_recursions: int
    router: ExpertChoiceRouter | None = None
    steps: list[RecursionStep] = field(default_factory=list)
    real: TokenSet = field(default_factory=lambda: TokenSet(0))
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def active(self) -> Tensor:
        """Return bool (B, S, R): who took part in which recursion; padding never did."""
        shape = (self.batch_size, self.real.num_positions)
        layers = []
        for index in range(self.num_recursions):
            if self.router is None:
                flags = torch.ones(shape, dtype=torch.bool, device=self.device)
                layers.append(self.real.dense(flags, self.batch_size, fill=False))
            elif index < len(self.steps):
                step = self.steps[index]
                layers.append(step.candidates.dense(step.chosen, self.batch_size, fill=False))
            else:
                layers.append(torch.zeros(shape, dtype=torch.bool, device=self.device))
        return torch.stack(layers, dim=-1)

    def depth(self) -> Tensor:
        """Return recursion depths (B, S), 0 for padding and for tokens that entered no recursion."""
        return self.active().sum(dim=-1)

    def router_logits(self) -> Tensor:
        """Return float32 (B, S, R), NaN where no router looked at the token."""
        shape = (self.batch_size, self.real.num_positions)
        layers = [
            step.candidates.dense(step.logits.detach(), self.batch_size, fill=float("nan"))
            for step in self.steps
        ]
        missing = self.num_recursions - len(layers)
        layers += [torch.full(shape, float("nan"), device=self.device)] * missing
        return torch.stack(layers, dim=-1)

    def router_scores(self) -> Tensor:
        """Return the logits after the activation, before alpha; (B, S, R), NaN where not computed."""
        logits = self.router_logits()
        return logits if self.router is None else self.router.scores(logits)

    def active_counts(self) -> list[list[int]]:
        """Count active tokens, one list a row with one number a recursion."""
        counts: list[list[int]] = self.active().sum(dim=1).tolist()
        return counts

    def routing_accuracy(self) -> list[float]:
        """Return, per recursion, the share of candidates whose sigmoid(z) >= 0.5 agrees with the choice made."""
        shares = []
        for step in self.steps:
            agrees = (step.logits.detach() >= 0) == step.chosen
            if step.candidates.valid is not None:
                agrees = agrees[step.candidates.valid]
            shares.append(agrees.float().mean().item())
        return shares


class Recursions:
    """Runs the recursions of one call under one rule. Holds no weights and does not outlive the call."""

    def __init__(
        self,
        config: MoRConfig,
        rule: RoutingRule,
        real: TokenSet,
        position_ids: Tensor,
        *,
        gathered: bool,
        supervised: bool,
    ) -> None:
        """Prepare a call.

        Args:
            config: of the model.
            rule: who goes on.
            real: the tokens that are not padding.
            position_ids: (B, S).
            gathered: leave inactive tokens out (else compute and drop them).
            supervised: also compute the losses that train the routers.
        """
        rule.check(config)
        self.config = config
        self.rule = rule
        self.real = real
        self.position_ids = position_ids
        self.gathered = gathered
        self.supervised = supervised
        self.losses: dict[str, Tensor] = {}

    def run(
        self, hidden_states: Tensor, routers: list[ExpertChoiceRouter], block: BlockFunction
    ) -> tuple[Tensor, RecursionTrace]:
        """Apply the shared block up to R times; (B, S, E) -> (B, S, E) and what was decided."""
        batch_size = len(hidden_states)
        trace = RecursionTrace(
            batch_size,
            self.config.num_recursions,
            routers[0],
            real=self.real,
            device=hidden_states.device,
        )
        candidates = self.real
        for index, router in enumerate(routers):
            states = candidates.gather(hidden_states)  # (b, K, E)
            logits = router(states)  # (b, K)
            active, chosen = self._select(index, router, logits, states, candidates)
            trace.steps.append(RecursionStep(candidates, logits, chosen))
            if self.supervised:
                self._supervise(router, logits, chosen, states, candidates)
            if active.is_empty:
                break
            gate = router.gate(logits, self.rule.gate)
            if active is not candidates:
                states = active.gather(hidden_states)
                gate = active.gather(candidates.dense(gate, batch_size, fill=0.0))
            update = block(index, active, states)
            if self.config.router_gating == "weighted":
                update = gate[..., None].to(update.dtype) * update
            hidden_states = active.add(hidden_states, update)
            candidates = active
        return hidden_states, trace

    def _select(
        self,
        index: int,
        router: ExpertChoiceRouter,
        logits: Tensor,
        states: Tensor,
        candidates: TokenSet,
    ) -> tuple[TokenSet, Tensor]:
        """Return the active tokens of recursion `index` and which candidates (b, K) they are."""
        everyone = torch.ones_like(logits, dtype=torch.bool)
        if candidates.valid is not None:
            everyone = everyone & candidates.valid
        factors = self.config.capacity_schedule
        if self.rule.name == "fixed":
            assert self.rule.depth is not None
            chosen = everyone if index < self.rule.depth else torch.zeros_like(everyone)
        elif factors[index] == 1:
            chosen = everyone
        elif self.rule.name == "top_k":
            return self._select_top_k(factors[index], router.scores(logits), candidates)
        elif self.rule.name == "random":
            share = factors[index] / (factors[index - 1] if index else 1.0)
            positions = candidates.gather(self.position_ids)
            chosen = select_random(positions, index, share, self.rule.seed) & everyone
        else:
            decisive = logits if router.aux_network is None else router.aux_logits(states)
            chosen = select_causal(decisive, self.rule.threshold_logit(index)) & everyone
        if chosen is everyone:
            return candidates, chosen
        return candidates.keep(chosen, gathered=self.gathered), chosen

    def _select_top_k(
        self, factor: float, scores: Tensor, candidates: TokenSet
    ) -> tuple[TokenSet, Tensor]:
        capacity: Tensor | int
        if self.real.valid is None:
            capacity = max(1, int(factor * self.real.num_positions))
        else:
            lengths = self.real.valid.sum(dim=1).double()
            capacity = (factor * lengths).long().clamp(min=1)
        places, valid = select_top_k(scores, candidates.valid, capacity)
        chosen = torch.zeros_like(scores, dtype=torch.bool)
        kept = torch.ones_like(places, dtype=torch.bool) if valid is None else valid
        chosen = chosen.scatter(1, places, kept)
        if not self.gathered:
            return candidates.keep(chosen, gathered=False), chosen
        return candidates.keep_places(places, valid), chosen

    def _supervise(
        self,
        router: ExpertChoiceRouter,
        logits: Tensor,
        chosen: Tensor,
        states: Tensor,
        candidates: TokenSet,
    ) -> None:
        """Add this recursion's router losses: averaged over its candidates, summed over recursions."""
        judged = logits if router.aux_network is None else router.aux_logits(states)
        terms = {
            "aux": auxiliary_loss(judged, chosen, candidates.valid),
            "z": router_z_loss(logits, candidates.valid),
        }
        for name, term in terms.items():
            self.losses[name] = self.losses[name] + term if name in self.losses else term
