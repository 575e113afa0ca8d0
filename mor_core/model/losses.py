"""Loss terms as functions of tensors.

Shapes: N positions, E hidden size, V vocabulary, b rows, K candidates of a recursion.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100  # Hugging Face's label for positions without a target
_CHUNK = 1024  # positions whose logits exist at once: 16 MiB at a vocabulary of 4,096 in float32


class _LinearCrossEntropy(torch.autograd.Function):
    """Cross-entropy of a linear head that never holds the logits of more than one chunk.

    The gradients are computed with the loss, chunk by chunk, so nothing is recomputed in the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        counted = (targets != IGNORED).sum().clamp(min=1)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        # torch disables autograd inside forward; needs_input_grad says which gradients backward will need.
        needs_grad = any(ctx.needs_input_grad[:2])
        compute = (
            torch.get_autocast_dtype(hidden.device.type)
            if torch.is_autocast_enabled(hidden.device.type)
            else hidden.dtype
        )
        head = weight.to(compute)
        grad_hidden = torch.empty_like(hidden) if needs_grad else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_grad else None
        for start in range(0, len(hidden), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            states, labels = hidden[chunk].to(compute), targets[chunk]
            log_probs = F.log_softmax((states @ head.t()).float(), dim=-1)
            keep = labels != IGNORED
            target_ids = labels.clamp(min=0)[:, None]
            picked = log_probs.gather(1, target_ids).squeeze(1)
            total -= torch.where(keep, picked, torch.zeros_like(picked)).sum()
            if grad_hidden is None or grad_weight is None:
                continue
            grad = log_probs.exp_()
            grad.scatter_add_(1, target_ids, torch.full_like(target_ids, -1.0, dtype=grad.dtype))
            grad.mul_((keep / counted)[:, None])
            grad = grad.to(compute)
            grad_hidden[chunk] = grad @ head
            grad_weight += (grad.t() @ states).float()
        if needs_grad:
            ctx.save_for_backward(grad_hidden, grad_weight.to(weight.dtype))  # type: ignore[union-attr]
        return total / counted

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grad_output, grad_weight * grad_output, None


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean next-token cross-entropy of `hidden @ weight.T` against `targets`, in nats.

    Shape: hidden (N, E), weight (V, E), targets (N,) with `IGNORED` where there is none -> scalar float32.
    """
    return _LinearCrossEntropy.apply(hidden, weight, targets)  # type: ignore[no-any-return, no-untyped-call]


def auxiliary_loss(logits: Tensor, selected: Tensor, valid: Tensor | None) -> Tensor:
    """Binary cross-entropy that teaches one recursion's router to predict the top-k selection.

    Shape: all (b, K) -> scalar, the mean over candidates. Source: arXiv 2507.10524, section 2.2.1.
    """
    losses = F.binary_cross_entropy_with_logits(logits, selected.to(logits.dtype), reduction="none")
    return _mean_over(losses, valid)


def depth_price(logits: Tensor, valid: Tensor | None) -> Tensor:
    """Mean score of one recursion's candidates: the cost of depth, so that only tokens that gain by it score high.

    Shape: logits (b, K) before alpha, valid (b, K) -> scalar. Source: the ponder cost of adaptive computation time,
    arXiv 1603.08983, section 2.2.
    """
    return _mean_over(logits.sigmoid(), valid)


def router_z_loss(logits: Tensor, valid: Tensor | None) -> Tensor:
    """Mean squared log-partition of a router; with one logit a token that is its square.

    Shape: logits (b, K, outputs), valid (b, K) -> scalar. Source: arXiv 2202.08906, equation 5.
    """
    return _mean_over(logits.logsumexp(dim=-1).square(), valid)


def balancing_loss(weights: Tensor, choices: Tensor, valid: Tensor | None) -> Tensor:
    """Sum of n x mean weight x share of tokens over the n destinations; 1 if weights and shares are uniform.

    Args:
        weights: (b, K, n), the differentiable part.
        choices: (b, K), each token's destination, counted from 1.
        valid: (b, K), the tokens that count; `None` for all.

    Source: arXiv 2101.03961, equation 4; arXiv 2507.10524, section 2.2.1.
    """
    outputs = weights.shape[-1]
    mean_weights = torch.stack([_mean_over(weights[..., index], valid) for index in range(outputs)])
    routed = F.one_hot((choices - 1).clamp(min=0), outputs).to(weights.dtype)
    shares = torch.stack([_mean_over(routed[..., index], valid) for index in range(outputs)])
    return outputs * (mean_weights * shares).sum()


def _mean_over(values: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return values.mean()
    return torch.where(valid, values, torch.zeros_like(values)).sum() / valid.sum().clamp(min=1)
