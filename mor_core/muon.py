"""Muon: momentum whose update is made orthogonal, for the matrices of the layers.

`torch.optim.Muon` is the same, but always multiplies in bf16; a CPU without the instructions then takes longer for the
optimiser than for the model. A test holds the two together.

Source: arXiv 2502.16982 (scale of the update, so that AdamW's learning rate serves); the Newton-Schulz
coefficients are those of `torch.optim.Muon`.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

_MOMENTUM = 0.95
_COEFFICIENTS = (3.4445, -4.775, 2.0315)
_STEPS = 5
_RMS_OF_ADAMW = 0.2  # what an AdamW update usually measures, in units of the learning rate


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, with decoupled weight decay. Every weight must be a matrix."""

    def __init__(
        self,
        weights: Iterable[Tensor],
        learning_rate: float,
        weight_decay: float,
        dtype: torch.dtype,
    ) -> None:
        """Take the weights, and the type that the orthogonalisation multiplies in."""
        super().__init__(weights, {"lr": learning_rate, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step; a closure is not supported."""
        assert closure is None, "Muon takes no closure"
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                momentum = state["momentum_buffer"].lerp_(weight.grad, 1 - _MOMENTUM)
                update = orthogonalise(weight.grad.lerp(momentum, _MOMENTUM), self.dtype)
                scale = _RMS_OF_ADAMW * math.sqrt(max(weight.shape))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * scale)


def orthogonalise(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """Bring a matrix near the orthogonal one with its singular vectors, by Newton-Schulz iteration.

    Shape: (m, n) -> (m, n), in the input's type; singular values end between about 0.7 and 1.2.
    """
    a, b, c = _COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if is_tall else matrix).to(dtype)
    x = x / x.norm().clamp(min=torch.finfo(torch.float32).tiny)
    for _ in range(_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if is_tall else x).to(matrix.dtype)
