"""Expert-choice: each recursion's router scores who is still there; the best, or those above a threshold, go on.

Route, run the shared block on the active tokens, gate what it adds, and go round again. `select_top_k` is how it
trains and is not causal; `entry_thresholds` is what inference holds each score against. Token-choice, decided once, is
in `token_choice.py`. Two ways to compute the same thing: gathered (inactive tokens are left out) and masked (everything
is computed and the inactive ones dropped: the slow twin that tests hold the other against).

Shapes: B batch, S positions in this call, b and K rows and places of a token set, E hidden size, R recursions.
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
from mor_core.model.routers import BlockFunction, RoutedCall, Router, forced_depths, router_network
from mor_core.model.routing_rules import Gate, RoutingRule
from mor_core.model.routing_trace import RecursionStep, RecursionTrace
from mor_core.model.token_set import TokenSet


class ExpertChoiceRouter(Router):
    """One recursion's judge: a logit for each candidate, and the gate that scales what the block adds.

    Source: arXiv 2507.10524, section 2.2.1 and Appendix G.1.
    """

    def __init__(self, config: MoRConfig) -> None:
        super().__init__(config)
        self.network = self.make_network(config)
        if config.router_supervision == "aux_router":
            self.aux_network = self.make_network(config)

    @staticmethod
    def make_network(config: MoRConfig) -> nn.Module:
        """Build what gives a candidate its logit; (..., E) -> (..., 1)."""
        return router_network(config)

    @classmethod
    def recur(
        cls,
        call: RoutedCall,
        hidden_states: Tensor,
        routers: Sequence["ExpertChoiceRouter"],
        block: BlockFunction,
    ) -> tuple[Tensor, RecursionTrace, dict[str, Tensor]]:
        recursions = ExpertChoice(call)
        return *recursions.run(hidden_states, routers, block), recursions.losses

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Score candidates; (b, K, E) -> logits (b, K), float32."""
        # One kernel less for a token that is alone.
        scaled = hidden_states if self.temperature == 1 else hidden_states / self.temperature
        return self.network(scaled).squeeze(-1).float()

    def matrices(self) -> list[Tensor]:
        """Return the network's weights, in the order in which they are applied."""
        return [weight.detach() for weight in self.network.parameters()]

    def aux_logits(self, hidden_states: Tensor) -> Tensor:
        """Score candidates by the auxiliary router, which learns apart from the model; -> (b, K), float32."""
        assert self.aux_network is not None, 'aux_logits needs router_supervision="aux_router"'
        return self.aux_network(hidden_states.detach() / self.temperature).squeeze(-1).float()

    def scores(self, logits: Tensor) -> Tensor:
        """Apply the activation, before alpha."""
        return expert_scores(logits, self.activation)

    def token_scores(self, logits: Sequence[float]) -> list[float]:
        """Do as `scores` does for one token's logits; tensors of a few numbers take ten times as long."""
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


class ExpertChoice:
    """Runs the recursions of one call under one rule. Holds no weights and does not outlive the call."""

    def __init__(self, call: RoutedCall) -> None:
        self.config = call.config
        self.rule = call.rule
        self.real = call.real
        self.position_ids = call.position_ids
        self.draw_keys = call.draw_keys
        self.gathered = call.gathered
        self.supervised = call.supervised
        self.observe = call.observe
        self.losses: dict[str, Tensor] = {}

    def run(
        self, hidden_states: Tensor, routers: Sequence[ExpertChoiceRouter], block: BlockFunction
    ) -> tuple[Tensor, RecursionTrace]:
        """Apply the shared block up to R times; (B, S, E) -> (B, S, E) and what was decided."""
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
            judged = logits if router.aux_network is None else router.aux_logits(states)  # (b, K)
            drawn = self._draw(index, candidates, logits)
            decisive = judged if trace.auxiliary else logits
            active, chosen = self._select(index, decisive, drawn, candidates)
            trace.steps.append(RecursionStep(candidates, decisive, judged, chosen))
            if self.supervised and drawn is None:
                self._supervise(index, logits, judged, chosen, candidates)
            if active.is_empty:
                break
            gate = router.gate(logits, self.rule.gate)
            if drawn is not None and self.config.router_control == "random_scores":
                gate = router.alpha * drawn.to(gate.dtype)
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

    def _draw(self, index: int, candidates: TokenSet, logits: Tensor) -> Tensor | None:
        """Return a control's draws from [0, 1) for the candidates, (b, K); `None` for a router that judges.

        Training draws from the generator, as the official code does; inference hashes positions.
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
        drawn: Tensor | None,
        candidates: TokenSet,
    ) -> tuple[TokenSet, Tensor]:
        """Return the active tokens of recursion `index` and which candidates (b, K) they are."""
        rule = self.rule
        everyone = torch.ones_like(logits, dtype=torch.bool)
        if candidates.valid is not None:
            everyone = everyone & candidates.valid
        factors = rule.capacities or self.config.capacity_schedule
        is_closed = rule.ceiling is not None and index >= rule.ceiling
        if rule.name == "top_k" and factors[index] < 1 and not is_closed:
            # Of logits, not of gates: the order is the same, but saturated gates would tie.
            return self._select_top_k(
                factors[index], logits if drawn is None else drawn, candidates
            )
        positions = candidates.gather(self.position_ids)
        keys = candidates.gather(self.draw_keys)
        least = entry_thresholds(self.config, rule, index, positions, keys)
        if isinstance(least, float) and least == -math.inf:
            return candidates, everyone
        chosen = (logits >= least) & everyone
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
        index: int,
        logits: Tensor,
        judged: Tensor,
        chosen: Tensor,
        candidates: TokenSet,
    ) -> None:
        """Add this recursion's router losses: averaged over its candidates, summed over recursions.

        Where depth has a price, a capacity of 1 costs nothing, so that gates stay open while a skill forms. While
        capacities fall, the price and the language model's loss alone train the scores: the auxiliary loss would teach
        them the selection of a capacity that does not stay.
        """
        own = self.config.capacity_schedule[index]
        capacity = (self.rule.capacities or self.config.capacity_schedule)[index]
        has_price = self.config.router_depth_price_coef > 0 and capacity < 1
        terms: dict[str, Tensor] = {}
        if not has_price or capacity == own:
            terms["aux"] = auxiliary_loss(judged, chosen, candidates.valid)
        terms["z"] = router_z_loss(logits[..., None], candidates.valid)
        if has_price:
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
    """Return the least logit with which a candidate enters a recursion: the one statement of who goes on.

    It holds for every rule but top-k, where it says who would enter if all had room.

    Args:
        config: of the model.
        rule: the routing rule.
        recursion_idx: 0-based.
        position_ids: (b, K).
        keys: (b, K), of `random_draws.draw_keys`.

    Returns:
        One number for all positions, or (b, K) float32 for the given ones: -inf where the rule lets a token in
        whatever its router says, inf where it keeps the token out.
    """
    if rule.ceiling is not None and recursion_idx >= rule.ceiling:
        return math.inf
    factors = rule.capacities or config.capacity_schedule
    if rule.name == "fixed" or (factors[recursion_idx] == 1 and rule.name != "forced"):
        return -math.inf
    share = factors[recursion_idx] / (factors[recursion_idx - 1] if recursion_idx else 1.0)
    if rule.name == "random":
        return _open_where(select_random(keys, recursion_idx, share, rule.seed))
    least: Tensor | float = rule.threshold_logit(recursion_idx)
    if factors[recursion_idx] == 1:
        least = -math.inf
    elif config.router_control != "none":
        least = _open_where(hash_uniform(keys, recursion_idx, rule.seed) >= 1 - share)
    if rule.name != "forced":
        return least
    depths = forced_depths(rule, position_ids)
    return torch.where(depths > 0, _open_where(depths > recursion_idx), least)


def _open_where(enters: Tensor) -> Tensor:
    """Return the thresholds that let in whom a rule chose and nobody else; bool (b, K) -> float32 (b, K)."""
    thresholds = torch.full(enters.shape, math.inf, dtype=torch.float32, device=enters.device)
    return thresholds.masked_fill(enters, -math.inf)


def select_top_k(
    scores: Tensor, valid: Tensor | None, capacity: Tensor | int
) -> tuple[Tensor, Tensor | None]:
    """Choose each row's best candidates. Not causal: a later token can displace an earlier one.

    Args:
        scores: (b, K), any increasing function of the gate.
        valid: (b, K), False for places that are no candidates; `None` if all are.
        capacity: how many a row may take: an integer, or (b,) integers where rows have different lengths.

    Returns:
        Places (b, k) in ascending order, and which of them count (`None` for all).
    """
    if valid is not None:
        scores = scores.masked_fill(~valid, -math.inf)
    if isinstance(capacity, int):
        return scores.topk(capacity, dim=1, sorted=False).indices.sort(dim=1).values, None
    width = int(capacity.max())
    places = scores.topk(width, dim=1).indices
    counted = torch.arange(width, device=scores.device) < capacity[:, None]
    # Places that do not count move behind those that do, so that the order stays ascending among the latter.
    order = (places + scores.shape[1] * ~counted).argsort(dim=1)
    return places.gather(1, order), counted.gather(1, order)
