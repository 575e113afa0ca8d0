"""Mixture-of-Experts as a baseline: Switch layers, whose router sends each token to one of several feed-forwards.

`expert_idx` is the expert that a token is routed to; it is unrelated to expert-choice routing of recursions.

Shapes: B batch, S positions in this call, E hidden size, X experts.
Source: arXiv 2101.03961, section 2.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mor_core.model.config import MoRConfig
from mor_core.model.layers import MLP
from mor_core.model.losses import balancing_loss, router_z_loss


@dataclass
class ExpertLog:
    """The decisions of the Switch layers of one call, in the order of the layer calls.

    Attributes:
        valid: (B, S) the tokens that are not padding; `None` for all.
        drops: leave out tokens over an expert's capacity, as training does.
        logits: one (B, S, X) per layer call, float32.
        expert_idx: one (B, S) per layer call.
        kept: one (B, S) per layer call: the tokens that an expert computed.
    """

    valid: Tensor | None = None
    drops: bool = False
    logits: list[Tensor] = field(default_factory=list)
    expert_idx: list[Tensor] = field(default_factory=list)
    kept: list[Tensor] = field(default_factory=list)

    def losses(self) -> dict[str, Tensor]:
        """Return the loss terms, each summed over the layer calls; none without Switch layers."""
        if not self.logits:
            return {}
        chosen = [indices + 1 for indices in self.expert_idx]
        return {
            "expert_balancing": torch.stack(
                [
                    balancing_loss(logits.softmax(-1), choices, self.valid)
                    for logits, choices in zip(self.logits, chosen, strict=True)
                ]
            ).sum(),
            "expert_z": torch.stack([router_z_loss(z, self.valid) for z in self.logits]).sum(),
        }

    def choices(self) -> Tensor:
        """Return the expert of each token, counted from 0: (B, S, layer calls)."""
        return torch.stack(self.expert_idx, dim=-1)

    def num_dropped(self) -> int:
        """Count the (token, layer call) pairs that were dropped because their expert was full."""
        real = [torch.ones_like(k) if self.valid is None else self.valid for k in self.kept]
        return sum(int((there & ~kept).sum()) for there, kept in zip(real, self.kept, strict=True))


class SwitchMLP(nn.Module):
    """Several feed-forwards and a router that sends each token to the most probable one, scaled by its probability."""

    def __init__(self, config: MoRConfig) -> None:
        super().__init__()
        self.capacity_factor = float(config.expert_capacity_factor)
        self.router = nn.Linear(config.hidden_size, config.num_experts, bias=False)
        self.experts = nn.ModuleList(MLP(config) for _ in range(config.num_experts))

    def forward(self, hidden_states: Tensor, log: ExpertLog) -> Tensor:
        """Send every token to its expert; (B, S, E) -> (B, S, E), zeros where a token was dropped."""
        logits = self.router(hidden_states).float()  # (B, S, X)
        probability, expert_idx = logits.softmax(dim=-1).max(dim=-1)  # (B, S)
        kept = torch.ones_like(expert_idx, dtype=torch.bool) if log.valid is None else log.valid
        if log.drops:
            kept = kept & self._within_capacity(expert_idx, kept)
        log.logits.append(logits)
        log.expert_idx.append(expert_idx.detach())
        log.kept.append(kept)
        flat, assigned = hidden_states.flatten(0, 1), expert_idx.flatten()
        mixed = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            indices = ((assigned == number) & kept.flatten()).nonzero().flatten()
            mixed = mixed.index_copy(0, indices, expert(flat[indices]).to(mixed.dtype))
        return probability.to(mixed.dtype)[..., None] * mixed.view_as(hidden_states)

    def _within_capacity(self, expert_idx: Tensor, valid: Tensor) -> Tensor:
        """Return which tokens (B, S) are within their expert's capacity: the first ones of each sequence."""
        experts = len(self.experts)
        assigned = nn.functional.one_hot(expert_idx, experts) * valid[..., None]  # (B, S, X)
        rank = (assigned.cumsum(dim=1) * assigned).sum(dim=-1)  # counted from 1
        lengths = valid.sum(dim=1, keepdim=True)
        capacity = (lengths * (self.capacity_factor / experts)).ceil().clamp(min=1)
        return rank <= capacity
