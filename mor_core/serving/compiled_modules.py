"""The modules that are compiled for a single-token step: QKV projection, attention with MLP, router head and LM head.

Each also runs uncompiled, as in the tests. They are written for the compiler: matrix products are sums, which it fuses
with the surrounding operations.

Shapes: E hidden size, H query heads, G key/value heads, D head width, F MLP width, V vocabulary, T cache entries, P
heads of a projection: H + 2G, or H where only queries are computed.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mor_core.model.expert_choice import expert_gate
from mor_core.model.layers import rms_norm, rotate


class QKVProjection(nn.Module):
    """Computes a token's rotated queries and, if the matrix has rows for it, its cache entry."""

    def __init__(self, width: int, num_queries: int, eps: float) -> None:
        super().__init__()
        self.width, self.num_queries, self.eps = width, num_queries, eps

    def forward(
        self, state: Tensor, cos: Tensor, sin: Tensor, norm: Tensor, matrix: Tensor
    ) -> list[Tensor]:
        """Return queries (H, D) and an entry (2G, D): rotated keys before values.

        Args:
            state: (1, E).
            cos: (D,), cosines as `rotate` takes them.
            sin: (D,), signed sines.
            norm: (E,), weights of the RMSNorm before attention.
            matrix: (P x D, E).
        """
        heads = _product(rms_norm(state, norm, self.eps), matrix).view(-1, self.width)
        queries, entry = heads[: self.num_queries], heads[self.num_queries :]
        if not entry.shape[0]:
            return [rotate(queries, (cos, sin))]
        keys, values = entry.chunk(2)
        return [rotate(queries, (cos, sin)), torch.cat((rotate(keys, (cos, sin)), values))]


class AttentionMLP(nn.Module):
    """Computes a token's state after a layer from its queries and the visible cache entries."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(
        self,
        state: Tensor,
        queries: Tensor,
        entries: Tensor,
        output: Tensor,
        norm: Tensor,
        gate: Tensor,
        up: Tensor,
        down: Tensor,
    ) -> Tensor:
        """Return (1, E).

        Args:
            state: (1, E).
            queries: (H, D).
            entries: (T, 2G, D), keys before values.
            output: (E, H x D).
            norm: (E,), weights of the RMSNorm before the MLP.
            gate: (F, E).
            up: (F, E).
            down: (E, F).
        """
        state = state + _product(_attended(queries, entries), output)
        normalised = rms_norm(state, norm, self.eps)
        inner = F.silu(_product(normalised, gate)) * _product(normalised, up)
        return state + _product(inner, down)


class LMHead(nn.Module):
    """Computes the logits of the next token from a token's last state."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, state: Tensor, norm: Tensor, head: Tensor) -> Tensor:
        """Return (1, V), float32; state (1, E), head (V, E)."""
        return _product(rms_norm(state, norm, self.eps), head).float()


class RouterHead(nn.Module):
    """Computes an expert-choice router's logit and gate from a token's state."""

    def __init__(self, activation: str, alpha: float, temperature: float) -> None:
        super().__init__()
        self.activation, self.alpha, self.temperature = activation, alpha, temperature

    def forward(self, state: Tensor, *matrices: Tensor) -> list[Tensor]:
        """Return the logit (1,), float32, and the gate (1, 1); state (1, E), the router's matrices in order."""
        value = state / self.temperature
        for matrix in matrices[:-1]:
            value = F.gelu(_product(value, matrix))
        logit = _product(value, matrices[-1])[0].float()
        return [logit, expert_gate(logit, self.activation, self.alpha)[:, None].to(state.dtype)]


def _product(state: Tensor, weight: Tensor) -> Tensor:
    """Multiply (1, n) by (m, n) transposed; -> (1, m).

    The compiler fuses a sum with the surrounding operations. It cannot fuse a library's matrix product, which is also
    slower for one row.
    """
    return (weight * state).sum(-1)[None]


def _attended(queries: Tensor, entries: Tensor) -> Tensor:
    """Attend from (H, D) to (T, 2G, D); -> (1, H x D)."""
    by_kind = entries.unflatten(1, (2, -1)).permute(1, 2, 0, 3).unsqueeze(2)
    keys, values = by_kind.unbind(0)  # (G, 1, T, D)
    groups, width = keys.shape[0], keys.shape[3]
    grouped = queries.view(groups, -1, 1, width)  # heads that share keys are adjacent
    scores = (grouped * keys).sum(-1).float() / math.sqrt(width)  # (G, H / G, T)
    shares = scores.softmax(-1).to(values.dtype)
    return (shares[..., None] * values).sum(-2).view(1, -1)
