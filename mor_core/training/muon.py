"""Muon: momentum with an orthogonalised update, for the weight matrices of the layers.

`torch.optim.Muon` computes the same update but always multiplies in bf16. On a CPU without bf16 instructions its step
then takes longer than the model's. A test checks that both give the same update.

Source: arXiv 2502.16982 (scale of the update, so that AdamW's learning rate can be used); the Newton-Schulz
coefficients are those of `torch.optim.Muon`.
"""

import math
from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor

_MOMENTUM = 0.95
_COEFFICIENTS = (3.4445, -4.775, 2.0315)
_STEPS = 5
_RMS_OF_ADAMW = 0.2  # usual RMS of an AdamW update, in units of the learning rate


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum with decoupled weight decay. Every weight must be a matrix."""

    def __init__(
        self,
        weights: Iterable[Tensor],
        learning_rate: float,
        weight_decay: float,
        dtype: torch.dtype,
    ) -> None:
        """Take the weights, and the type of the matrix products of the orthogonalisation."""
        super().__init__(weights, {"lr": learning_rate, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step; a closure is not supported."""
        assert closure is None, "Muon takes no closure"
        for group in self.param_groups:
            decay = 1 - group["lr"] * group["weight_decay"]
            for weights in _by_shape(group["params"]):
                gradients = [cast(Tensor, weight.grad) for weight in weights]
                momenta = [self._momentum(weight) for weight in weights]
                torch._foreach_lerp_(momenta, gradients, 1 - _MOMENTUM)
                ahead = torch._foreach_lerp(gradients, momenta, _MOMENTUM)
                updates = orthogonalise(torch.stack(ahead), self.dtype)
                scale = _RMS_OF_ADAMW * math.sqrt(max(weights[0].shape))
                torch._foreach_mul_(weights, decay)
                torch._foreach_add_(weights, updates.unbind(), alpha=-group["lr"] * scale)

    def _momentum(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        return state["momentum_buffer"]


def _by_shape(weights: Iterable[Tensor]) -> list[list[Tensor]]:
    """Group the weights that have a gradient by shape, so that one call multiplies all matrices of a shape.

    Otherwise the launches, about forty per matrix, keep a GPU waiting.
    """
    groups: dict[torch.Size, list[Tensor]] = {}
    for weight in weights:
        if weight.grad is not None:
            groups.setdefault(weight.shape, []).append(weight)
    return list(groups.values())


def orthogonalise(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Approximate the orthogonal matrices with the same singular vectors, by Newton-Schulz iteration.

    Shape: (count, m, n) -> (count, m, n), in the input's type; the singular values end up between about 0.7 and 1.2.
    """
    a, b, c = _COEFFICIENTS
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if is_tall else matrices).to(dtype)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).to(matrices.dtype)
