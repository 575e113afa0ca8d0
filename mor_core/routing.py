"""Who goes on: the router networks, the rule that trains them and the rules that use them.

Training selects the top-k tokens of the whole sequence, which is not causal: a token's fate depends on later tokens.
Inference compares each token's own score with a threshold, which is. The two are two methods, `select_top_k` and
`select_causal`, and every run names the one that it used.

Shapes: b rows, K candidates of a recursion, E hidden size.
Source: arXiv 2507.10524, section 2.2.1, equation 2.1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mor_core.config import MoRConfig

RuleName = Literal["causal", "top_k", "fixed", "random"]
RULE_FORMS = "causal, top_k, fixed:D (D = 1, 2, ...) or random"
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class RoutingRule:
    """How a run decides who enters each recursion.

    Attributes:
        name: `causal` (score at or above the threshold), `top_k` (the training rule; sees later tokens), `fixed`
            (everybody takes `depth` recursions) or `random` (drawn from a hash with the trained shares).
        gate: `learned` multiplies the block's output by the token's own gate, `open` by alpha.
        thresholds: for `causal`, one score in (0, 1) for all recursions, or one for each.
        depth: for `fixed`.
        seed: for `random`.
    """

    name: RuleName
    gate: Literal["learned", "open"] = "learned"
    thresholds: tuple[float, ...] = (DEFAULT_THRESHOLD,)
    depth: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for threshold in self.thresholds:
            if not 0 < threshold < 1:
                raise ValueError(
                    f"threshold must lie between 0 and 1, got {threshold}; 0.5 is the rule that training aims at"
                )
        if (self.name == "fixed") != (self.depth is not None):
            raise ValueError(
                f"depth belongs to the fixed rule alone, got {self.depth} with {self.name}"
            )
        if self.depth is not None and self.depth < 1:
            raise ValueError(f"depth must be at least 1, got {self.depth}")

    @classmethod
    def top_k(cls) -> "RoutingRule":
        """The rule of training."""
        return cls("top_k")

    @classmethod
    def causal(cls, threshold: float | Sequence[float] = DEFAULT_THRESHOLD) -> "RoutingRule":
        """The rule of inference."""
        if isinstance(threshold, (int, float)):
            return cls("causal", thresholds=(float(threshold),))
        return cls("causal", thresholds=tuple(threshold))

    @classmethod
    def fixed(cls, depth: int, gate: Literal["learned", "open"] = "learned") -> "RoutingRule":
        """Everybody takes `depth` recursions."""
        return cls("fixed", gate=gate, depth=depth)

    @classmethod
    def random(cls, seed: int = 0, gate: Literal["learned", "open"] = "learned") -> "RoutingRule":
        """Membership drawn with the trained shares, the same in cached and recomputed runs."""
        return cls("random", gate=gate, seed=seed)

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        gate: Literal["learned", "open"] = "learned",
        threshold: float | Sequence[float] = DEFAULT_THRESHOLD,
        seed: int = 0,
    ) -> "RoutingRule":
        """Read a rule as the command line writes it.

        Raises:
            ValueError: the text is none of the known forms.
        """
        name, _, argument = text.partition(":")
        if text == "top_k":
            return cls("top_k", gate=gate)
        if text == "causal":
            return cls("causal", gate=gate, thresholds=cls.causal(threshold).thresholds)
        if text == "random":
            return cls.random(seed, gate)
        if name == "fixed" and argument.isascii() and argument.isdigit():
            return cls.fixed(int(argument), gate)
        raise ValueError(f"routing must be {RULE_FORMS}, got {text!r}")

    def check(self, config: MoRConfig) -> None:
        """Refuse a rule that does not fit a model.

        Raises:
            ValueError: too deep, or the wrong number of thresholds.
        """
        if self.depth is not None and self.depth > config.num_recursions:
            raise ValueError(
                f"depth must be at most the model's num_recursions={config.num_recursions}, got {self.depth}"
            )
        if len(self.thresholds) not in (1, config.num_recursions):
            raise ValueError(
                f"give one threshold or num_recursions={config.num_recursions} of them, got {len(self.thresholds)}"
            )

    def threshold_logit(self, recursion_idx: int) -> float:
        """The threshold of a recursion on the logit scale: sigmoid(z) >= t exactly when z >= log(t / (1 - t))."""
        threshold = self.thresholds[recursion_idx if len(self.thresholds) > 1 else 0]
        return math.log(threshold / (1 - threshold))

    def describe(self) -> dict[str, Any]:
        """Return the settings that matter for this rule, as plain data for a trace."""
        described: dict[str, Any] = {"name": self.name, "gate": self.gate}
        if self.name == "causal":
            described["thresholds"] = list(self.thresholds)
        if self.name == "fixed":
            described["depth"] = self.depth
        if self.name == "random":
            described["seed"] = self.seed
        return described


class ExpertChoiceRouter(nn.Module):
    """One recursion's judge: a logit for each candidate, and the gate that scales what the block adds.

    Source: arXiv 2507.10524, section 2.2.1 and Appendix G.1.
    """

    def __init__(self, config: MoRConfig) -> None:
        super().__init__()
        self.activation = config.router_activation
        self.alpha = float(config.router_alpha)
        self.temperature = float(config.router_temperature)
        self.network = router_network(config)
        self.aux_network = (
            router_network(config) if config.router_supervision == "aux_router" else None
        )

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Score candidates; (b, K, E) -> logits (b, K), float32."""
        return self.network(hidden_states / self.temperature).squeeze(-1).float()

    def aux_logits(self, hidden_states: Tensor) -> Tensor:
        """Score candidates by the auxiliary router, which learns apart from the model; -> (b, K), float32."""
        assert self.aux_network is not None, 'aux_logits needs router_supervision="aux_router"'
        return self.aux_network(hidden_states.detach() / self.temperature).squeeze(-1).float()

    def scores(self, logits: Tensor) -> Tensor:
        """Apply the activation, before alpha."""
        if self.activation == "sigmoid":
            return logits.sigmoid()
        return logits.tanh() if self.activation == "tanh" else logits

    def gate(self, logits: Tensor, kind: Literal["learned", "open"]) -> Tensor:
        """Return the factor for the block's output; as in the official code, no activation means no alpha."""
        alpha = 1.0 if self.activation == "none" else self.alpha
        if kind == "open":
            return torch.full_like(logits, alpha)
        return alpha * self.scores(logits)


def router_network(config: MoRConfig) -> nn.Module:
    """Build a network from a hidden state to one logit. Both forms have no biases, as in the official code."""
    if config.router_network == "linear":
        return nn.Linear(config.hidden_size, 1, bias=False)
    inner = 2 * config.hidden_size
    return nn.Sequential(
        nn.Linear(config.hidden_size, inner, bias=False),
        nn.GELU(),
        nn.Linear(inner, 1, bias=False),
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
    """Choose each candidate with probability `share`; (b, K) -> bool (b, K).

    Drawn from a hash of seed, position and recursion, so that a cached run equals a recomputed one.
    """
    mixed = position_ids * 0x9E3779B1 + (recursion_idx + 1) * 0x85EBCA77 + seed * 0xC2B2AE3D
    mixed = mixed & 0xFFFFFFFF
    for multiplier in (0x7FEB352D, 0x846CA68B):
        mixed = ((mixed ^ (mixed >> 16)) * multiplier) & 0xFFFFFFFF
    uniform = (mixed ^ (mixed >> 16)).double() / 2**32
    return uniform < share
