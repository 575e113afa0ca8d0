"""The routers, which judge tokens, and the ways to select by what they say.

`select_top_k` is how expert-choice trains and is not causal; `select_causal` compares each score with a threshold and
is. The rules that call them are in `routing_rules.py`.

Shapes: b rows, K candidates of a recursion, E hidden size, R recursions.
Source: arXiv 2507.10524, section 2.2.1, equations 2.1 and 2.2.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mor_core.common.logistic import sigmoid
from mor_core.model.config import MoRConfig, router_width
from mor_core.model.routing_rules import Gate


class ExpertChoiceRouter(nn.Module):
    """One recursion's judge: a logit for each candidate, and the gate that scales what the block adds.

    Source: arXiv 2507.10524, section 2.2.1 and Appendix G.1.
    """

    def __init__(self, config: MoRConfig) -> None:
        super().__init__()
        self.activation = config.router_activation
        self.alpha = float(config.router_alpha)
        self.temperature = float(config.router_temperature)
        self.network = router_network(config, 1)
        self.aux_network = (
            router_network(config, 1) if config.router_supervision == "aux_router" else None
        )

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


class TokenChoiceRouter(nn.Module):
    """The one judge of a token-choice model: every token's scores for all depths, asked once, before recursion 1.

    The bias of loss-free balancing takes part in the selection alone; the trainer moves it after each step.

    Source: arXiv 2507.10524, section 2.2.1, equation 2.2; arXiv 2408.15664 (loss-free balancing).
    """

    bias: Tensor | None

    def __init__(self, config: MoRConfig) -> None:
        super().__init__()
        self.activation = config.router_activation
        self.alpha = float(config.router_alpha)
        self.temperature = float(config.router_temperature)
        self.network = router_network(config, config.num_recursions)
        loss_free = config.router_balancing == "loss_free"
        self.register_buffer("bias", torch.zeros(config.num_recursions) if loss_free else None)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Score every depth; (b, K, E) -> logits (b, K, R), float32."""
        return self.network(hidden_states / self.temperature).float()  # type: ignore[no-any-return]

    def scores(self, logits: Tensor) -> Tensor:
        """Apply the activation over the last axis, before alpha."""
        return logits.softmax(dim=-1) if self.activation == "softmax" else logits.sigmoid()

    def token_scores(self, logits: Sequence[float]) -> list[float]:
        """Do as `scores` does for one token's logits; tensors of a few numbers take ten times as long."""
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
        """Make depths that got less than an even share likelier, by one step of `rate`; depth_counts (R,)."""
        assert self.bias is not None, 'move_bias needs router_balancing="loss_free"'
        self.bias += rate * torch.sign(depth_counts.mean() - depth_counts).to(self.bias)


Router = ExpertChoiceRouter | TokenChoiceRouter


def make_routers(config: MoRConfig) -> nn.ModuleList:
    """Build a model's routers: one a recursion for expert-choice, one in all for token-choice."""
    if config.router_type == "token_choice":
        return nn.ModuleList([TokenChoiceRouter(config)])
    count = config.num_recursions if config.has_router else 0
    return nn.ModuleList(ExpertChoiceRouter(config) for _ in range(count))


def router_network(config: MoRConfig, num_outputs: int) -> nn.Module:
    """Build a network from a hidden state to logits; no biases, as in the official code.

    `wide_mlp` is four times as wide as the hidden state, as the paper's Appendix G.1 says; in the official code it
    is no wider than `mlp`.
    """
    if config.router_network == "linear":
        return nn.Linear(config.hidden_size, num_outputs, bias=False)
    inner = router_width(config)
    return nn.Sequential(
        nn.Linear(config.hidden_size, inner, bias=False),
        nn.GELU(),
        nn.Linear(inner, num_outputs, bias=False),
    )


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


def select_causal(logits: Tensor, threshold_logit: float) -> Tensor:
    """Choose the candidates at or above the threshold, each by its own score alone; (b, K) -> bool (b, K)."""
    return logits >= threshold_logit


def select_random(position_ids: Tensor, recursion_idx: int, share: float, seed: int) -> Tensor:
    """Choose each candidate with probability `share`; (b, K) -> bool (b, K)."""
    return hash_uniform(position_ids, recursion_idx, seed) < share


def hash_uniform(position_ids: Tensor, recursion_idx: int, seed: int) -> Tensor:
    """Draw from [0, 1) by a hash of seed, position and recursion; (b, K) -> float64 (b, K).

    Not from a generator, so that a cached run equals a recomputed one.
    """
    seeded = ((recursion_idx + 1) * 0x85EBCA77 + seed * 0xC2B2AE3D) & 0xFFFFFFFF
    mixed = (position_ids * 0x9E3779B1 + seeded) & 0xFFFFFFFF
    for multiplier in (0x7FEB352D, 0x846CA68B):
        mixed = ((mixed ^ (mixed >> 16)) * multiplier) & 0xFFFFFFFF
    return (mixed ^ (mixed >> 16)).double() / 2**32
