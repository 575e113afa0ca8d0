"""The optimisers: AdamW, or Muon for the matrices of the layers.

Source: arXiv 2507.10524, Appendix B (AdamW; warm-up, stable, decay); arXiv 2502.16982 (Muon at AdamW's rate).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mor_core.model.decoder import DecoderLayer, RecursionParts
from mor_core.model.routers import Router
from mor_core.training.hardware import multiplies_bf16_natively
from mor_core.training.muon import Muon
from mor_core.training.recipe import OptimiserSection

_FUSED_ON = ("cpu", "cuda")
AUX_ROUTER_RATE = 10.0  # times the model's learning rate


def make_optimiser(
    model: nn.Module, settings: OptimiserSection, device: torch.device
) -> torch.optim.Optimizer:
    """Build the optimiser. Weight decay applies to matrices, embedding and routers included, but not to norms.

    Auxiliary routers have their own parameter group with ten times the learning rate. Both are as in the official
    code.
    """
    of_layers = layer_matrices(model) if settings.name == "muon" else []
    taken = set(map(id, of_layers))
    auxiliary = aux_router_weights(model)
    taken |= set(map(id, auxiliary))
    others = [weight for weight in model.parameters() if id(weight) not in taken]
    matrices = [weight for weight in others if weight.dim() >= 2]
    vectors = [weight for weight in others if weight.dim() < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if auxiliary:
        groups.append(
            {
                "params": auxiliary,
                "weight_decay": settings.weight_decay,
                "rate_factor": AUX_ROUTER_RATE,
            }
        )
    adamw = torch.optim.AdamW(
        groups,
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=device.type in _FUSED_ON,
    )
    if not of_layers:
        return adamw
    dtype = torch.bfloat16 if multiplies_bf16_natively(device) else torch.float32
    muon = Muon(of_layers, settings.learning_rate, settings.weight_decay, dtype)
    return OptimiserPair(muon, adamw)


def layer_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the weight matrices for Muon: attention, feed-forward and experts, but not routers."""
    return [
        weight
        for layer in model.modules()
        if isinstance(layer, (DecoderLayer, RecursionParts))
        for name, weight in layer.named_parameters()
        if weight.dim() == 2 and not name.endswith("router.weight")
    ]


def aux_router_weights(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights of auxiliary routers, whose learning rate and gradient clipping are separate."""
    return [
        weight
        for router in model.modules()
        if isinstance(router, Router) and router.aux_network is not None
        for weight in router.aux_network.parameters()
    ]


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set every group's learning rate, times the group's `rate_factor` if it has one."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("rate_factor", 1.0)


class OptimiserPair(torch.optim.Optimizer):
    """Two optimisers of different weights behind the interface of one."""

    def __init__(self, first: torch.optim.Optimizer, second: torch.optim.Optimizer) -> None:
        super().__init__([*first.param_groups, *second.param_groups], {})
        self.parts = (first, second)
        self._share_groups()

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step with both optimisers; a closure is not supported."""
        assert closure is None, "a pair of optimisers takes no closure"
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()

    def _share_groups(self) -> None:
        """Use the two optimisers' own groups, so that a rate set here reaches them; a loaded state has new groups."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]
