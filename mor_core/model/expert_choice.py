"""Expert-choice: each recursion's router scores the remaining tokens; the top-k, or those above a threshold, enter it.

Each recursion scores its candidates, selects the active tokens, runs the shared block on them and gates its output.
Training selects by `select_top_k`, which is not causal; inference compares each score to `entry_thresholds`.
Token-choice, which decides once, is in `token_choice.py`. Two paths compute the same result: the gathered path leaves
inactive tokens out; the masked path computes all tokens and drops the inactive ones. It is the slow reference of tests.

Shapes: B batch, S positions in this call, b and K rows and entries of a token set, E hidden size, R recursions.
Source: arXiv 2507.10524, section 2.2.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mor_core.common.logistic import sigmoid
from mor_core.model.config import MoRConfig
from mor_core.model.losses import auxiliary_loss, depth_price, router_z_loss
from mor_core.model.random_draws import hash_uniform, select_random
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
from mor_core.model.token_set import TokenSet


class ExpertChoiceRouter(Router):
    """One recursion's router: a logit for each candidate, and the gate that scales the block's output.

    Source: arXiv 2507.10524, section 2.2.1 and Appendix G.1.
    """

    def __init__(self, config: MoRConfig) -> None:
        super().__init__(config)
        self.network = self.make_network(config)
        if config.router_supervision == "aux_router":
            self.aux_network = self.make_network(config)

    @staticmethod
    def make_network(config: MoRConfig) -> nn.Module:
        """Build the network that computes a candidate's logit; (..., E) -> (..., 1)."""
        return router_network(config)

    @classmethod
    def recur(
        cls,
        call: RoutedCall,
        hidden_states: Tensor,
        routers: Sequence["ExpertChoiceRouter"],
        block: BlockFunction,
    ) -> tuple[Tensor, RecursionTrace, dict[str, Tensor]]:
        choice = ExpertChoice(call)
        return *choice.run(hidden_states, routers, block), choice.losses

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Score candidates; (b, K, E) -> logits (b, K), float32."""
        # Without the division, decoding one token launches one kernel less.
        scaled = hidden_states if self.temperature == 1 else hidden_states / self.temperature
        return self.network(scaled).squeeze(-1).float()

    def matrices(self) -> list[Tensor]:
        """Return the network's weights in the order in which they are applied."""
        return [weight.detach() for weight in self.network.parameters()]

    def aux_logits(self, hidden_states: Tensor) -> Tensor:
        """Score candidates by the auxiliary router, whose loss sends no gradient into the model; -> (b, K), float32."""
        assert self.aux_network is not None, 'aux_logits needs router_supervision="aux_router"'
        return self.aux_network(hidden_states.detach() / self.temperature).squeeze(-1).float()

    def scores(self, logits: Tensor) -> Tensor:
        """Apply the activation, before alpha."""
        return expert_scores(logits, self.activation)

    def token_scores(self, logits: Sequence[float]) -> list[float]:
        """Compute `scores` for one token's logits as Python floats; such small tensors take ten times as long."""
        if self.activation == "sigmoid":
            return list(map(sigmoid, logits))
        return list(map(math.tanh, logits)) if self.activation == "tanh" else list(logits)

    def gate(self, logits: Tensor, kind: Gate) -> Tensor:
        """Return the factor for the block's output; see `expert_gate`."""
        if kind == "open":
            return torch.full_like(logits, 1.0 if self.activation == "none" else self.alpha)
        return expert_gate(logits, self.activation, self.alpha)


def expert_scores(logits: Tensor, activation: str) -> Tensor:
    """Apply an expert-choice router's activation, before alpha."""
    if activation == "sigmoid":
        return logits.sigmoid()
    return logits.tanh() if activation == "tanh" else logits


def expert_gate(logits: Tensor, activation: str, alpha: float) -> Tensor:
    """Return an expert-choice router's learned gate; as in the official code, no activation means no alpha."""
    scores = expert_scores(logits, activation)
    return scores if activation == "none" else alpha * scores


class ExpertChoice(RoutedRecursions):
    """The recursions of expert-choice: before each one its router scores the tokens that are still active."""

    def __init__(self, call: RoutedCall) -> None:
        super().__init__(call)
        self.losses: dict[str, Tensor] = {}

    def run(
        self, hidden_states: Tensor, routers: Sequence[ExpertChoiceRouter], block: BlockFunction
    ) -> tuple[Tensor, RecursionTrace]:
        """Apply the shared block up to R times; (B, S, E) -> (B, S, E) and the routing trace."""
        batch_size = len(hidden_states)
        trace = RecursionTrace(
            batch_size,
            self.config.num_recursions,
            routers[0],
            self.real,
            hidden_states.device,
            auxiliary=routers[0].aux_network is not None and not self.rule.sees_future,
        )
        candidates = self.real
        for index, router in enumerate(routers):
            states = candidates.gather(hidden_states)  # (b, K, E)
            logits = router(states)  # (b, K)
            causal_logits = logits if router.aux_network is None else router.aux_logits(states)
            random_scores = self._random_scores(index, candidates, logits)
            deciding_logits = causal_logits if trace.auxiliary else logits
            active, chosen = self._select(index, deciding_logits, random_scores, candidates)
            trace.steps.append(RecursionStep(candidates, deciding_logits, causal_logits, chosen))
            if self.supervised and random_scores is None:
                self._supervise(index, logits, causal_logits, chosen, candidates)
            if active.is_empty:
                break
            gate = router.gate(logits, self.rule.gate)
            if random_scores is not None and self.config.router_control == "random_scores":
                gate = router.alpha * random_scores.to(gate.dtype)
            if active is not candidates:
                states = active.gather(hidden_states)
                gate = active.gather(candidates.dense(gate, batch_size, fill=0.0))
            update = block(index, active, states)
            if self.config.router_gating == "weighted":
                update = gate[..., None].to(update.dtype) * update
            hidden_states = active.add(hidden_states, update)
            if self.observe is not None:
                self.observe(hidden_states)
            candidates = active
        return hidden_states, trace

    def _random_scores(self, index: int, candidates: TokenSet, logits: Tensor) -> Tensor | None:
        """Return a control's random scores in [0, 1) for the candidates, (b, K); `None` for a learned router.

        Training draws them from the generator, as the official code does; inference hashes `draw_keys`.
        """
        if self.config.router_control == "none":
            return None
        if self.rule.name == "top_k":
            return torch.rand_like(logits)
        return hash_uniform(candidates.gather(self.draw_keys), index, self.rule.seed)

    def _select(
        self,
        index: int,
        logits: Tensor,
        random_scores: Tensor | None,
        candidates: TokenSet,
    ) -> tuple[TokenSet, Tensor]:
        """Return the active tokens of recursion `index`, and a mask of them among the candidates (b, K)."""
        rule = self.rule
        all_candidates = torch.ones_like(logits, dtype=torch.bool)
        if candidates.valid is not None:
            all_candidates = all_candidates & candidates.valid
        factors = rule.capacities or self.config.capacity_schedule
        is_closed = rule.ceiling is not None and index >= rule.ceiling
        if rule.name == "top_k" and factors[index] < 1 and not is_closed:
            # Ranks logits, not gates: the order is the same, but saturated gates would tie.
            return self._select_top_k(
                factors[index], logits if random_scores is None else random_scores, candidates
            )
        positions = candidates.gather(self.position_ids)
        keys = candidates.gather(self.draw_keys)
        threshold = entry_thresholds(self.config, rule, index, positions, keys)
        if isinstance(threshold, float) and threshold == -math.inf:
            return candidates, all_candidates
        chosen = (logits >= threshold) & all_candidates
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
        indices, valid = select_top_k(scores, candidates.valid, capacity)
        chosen = torch.zeros_like(scores, dtype=torch.bool)
        kept = torch.ones_like(indices, dtype=torch.bool) if valid is None else valid
        chosen = chosen.scatter(1, indices, kept)
        if not self.gathered:
            return candidates.keep(chosen, gathered=False), chosen
        return candidates.keep_indices(indices, valid), chosen

    def _supervise(
        self,
        index: int,
        logits: Tensor,
        causal_logits: Tensor,
        chosen: Tensor,
        candidates: TokenSet,
    ) -> None:
        """Add this recursion's router losses: averaged over its candidates, summed over recursions.

        The first recursion that all tokens enter has no price: none could save it.
        """
        terms = {
            "aux": auxiliary_loss(causal_logits, chosen, candidates.valid),
            "z": router_z_loss(logits[..., None], candidates.valid),
        }
        can_be_saved = self.config.capacity_schedule[index] < 1
        if self.config.router_depth_price_coef and can_be_saved:
            terms["depth_price"] = depth_price(logits, candidates.valid)
        for name, term in terms.items():
            self.losses[name] = self.losses[name] + term if name in self.losses else term


def entry_thresholds(
    config: MoRConfig,
    rule: RoutingRule,
    recursion_idx: int,
    position_ids: Tensor,
    keys: Tensor,
) -> Tensor | float:
    """Return the logit at or above which a candidate enters a recursion. Every path decides by this function.

    It holds for every rule but top-k, for which it ignores the capacity.

    Args:
        config: the model's configuration.
        rule: the routing rule.
        recursion_idx: 0-based.
        position_ids: (b, K).
        keys: (b, K), of `random_draws.draw_keys`.

    Returns:
        One number for all positions, or (b, K) float32 for the given ones: -inf where the rule admits a token whatever
        its score is, inf where the rule excludes the token.
    """
    if rule.ceiling is not None and recursion_idx >= rule.ceiling:
        return math.inf
    factors = rule.capacities or config.capacity_schedule
    if rule.name == "fixed" or (factors[recursion_idx] == 1 and rule.name != "forced"):
        return -math.inf
    share = factors[recursion_idx] / (factors[recursion_idx - 1] if recursion_idx else 1.0)
    if rule.name == "random":
        return _admit_only(select_random(keys, recursion_idx, share, rule.seed))
    threshold: Tensor | float = rule.threshold_logit(recursion_idx)
    if factors[recursion_idx] == 1:
        threshold = -math.inf
    elif config.router_control != "none":
        threshold = _admit_only(hash_uniform(keys, recursion_idx, rule.seed) >= 1 - share)
    if rule.name != "forced":
        return threshold
    depths = forced_depths(rule, position_ids)
    return torch.where(depths > 0, _admit_only(depths > recursion_idx), threshold)


def _admit_only(enters: Tensor) -> Tensor:
    """Return thresholds that admit exactly the tokens marked in `enters`; bool (b, K) -> float32 (b, K)."""
    thresholds = torch.full(enters.shape, math.inf, dtype=torch.float32, device=enters.device)
    return thresholds.masked_fill(enters, -math.inf)


def select_top_k(
    scores: Tensor, valid: Tensor | None, capacity: Tensor | int
) -> tuple[Tensor, Tensor | None]:
    """Choose each row's best candidates. Not causal: a later token can displace an earlier one.

    Args:
        scores: (b, K), any increasing function of the gate.
        valid: (b, K), False for entries that are no candidates; `None` if all are.
        capacity: tokens selected per row: an integer, or (b,) integers where rows have different lengths.

    Returns:
        Indices (b, k) along K in ascending order, and which of them are valid (`None` for all).
    """
    if valid is not None:
        scores = scores.masked_fill(~valid, -math.inf)
    if isinstance(capacity, int):
        return scores.topk(capacity, dim=1, sorted=False).indices.sort(dim=1).values, None
    width = int(capacity.max())
    indices = scores.topk(width, dim=1).indices
    within = torch.arange(width, device=scores.device) < capacity[:, None]
    # Invalid indices move behind the valid ones, which therefore stay in ascending order.
    order = (indices + scores.shape[1] * ~within).argsort(dim=1)
    return indices.gather(1, order), within.gather(1, order)
