"""What one token that is alone runs through, in parts to be compiled: a layer's projection, its rest, router, head.

Each is an ordinary module too, which tests run as it is written. Written for the compiler: products are sums, which it
joins with what surrounds them.

Shapes: E hidden size, H query heads, G key/value heads, D head width, F MLP width, V vocabulary, T cache entries, P
heads of a projection: H + 2G, or H where no keys are computed.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mor_core.model.expert_choice import expert_gate


class Project(nn.Module):
    """From a token's state to its turned queries and, if the matrix has rows for it, its cache entry."""

    def __init__(self, width: int, num_queries: int, eps: float) -> None:
        super().__init__()
        self.width, self.num_queries, self.eps = width, num_queries, eps

    def forward(self, state: Tensor, turn: Tensor, norm: Tensor, matrix: Tensor) -> list[Tensor]:
        """Return queries (H, D) and an entry (2G, D): turned keys before values.

        Args:
            state: (1, E).
            turn: (D / 2, 2), cosines and sines.
            norm: (E,).
            matrix: (P x D, E), queries and keys in pairs.
        """
        heads = _product(_normalised(state, norm, self.eps), matrix).view(-1, self.width)
        queries, entry = heads[: self.num_queries], heads[self.num_queries :]
        if not entry.shape[0]:
            return [_turned(queries, turn)]
        keys, values = entry.chunk(2)
        return [_turned(queries, turn), torch.cat((_turned(keys, turn), values))]


class Finish(nn.Module):
    """From a token's queries, and all entries that they may see, to its state after the layer."""

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
            norm: (E,).
            gate: (F, E).
            up: (F, E).
            down: (E, F).
        """
        state = state + _product(_mixed(queries, entries), output)
        normalised = _normalised(state, norm, self.eps)
        inner = F.silu(_product(normalised, gate)) * _product(normalised, up)
        return state + _product(inner, down)


class ReadOut(nn.Module):
    """From a token's last state to the logits of the next."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, state: Tensor, norm: Tensor, head: Tensor) -> Tensor:
        """Return (1, V), float32; state (1, E), head (V, E)."""
        return _product(_normalised(state, norm, self.eps), head).float()


class Judge(nn.Module):
    """From a token's state to what an expert-choice router says of it."""

    def __init__(self, activation: str, alpha: float, temperature: float) -> None:
        super().__init__()
        self.activation, self.alpha, self.temperature = activation, alpha, temperature

    def forward(self, state: Tensor, *matrices: Tensor) -> list[Tensor]:
        """Return the logit (1,), float32, and the gate (1, 1); state (1, E), the router's matrices in their order."""
        value = state / self.temperature
        for matrix in matrices[:-1]:
            value = F.gelu(_product(value, matrix))
        logit = _product(value, matrices[-1])[0].float()
        return [logit, expert_gate(logit, self.activation, self.alpha)[:, None].to(state.dtype)]


def _turned(heads: Tensor, turn: Tensor) -> Tensor:
    """Rotate (n, D), laid out in pairs."""
    (even, odd), (cos, sin) = heads.float().unflatten(-1, (-1, 2)).unbind(-1), turn.unbind(-1)
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)
    return turned.to(heads.dtype)


def _product(state: Tensor, weight: Tensor) -> Tensor:
    """Multiply (1, n) by (m, n) transposed; -> (1, m).

    As a sum, the compiler makes it one loop with what surrounds it. A library's product stands alone, and for one row
    it is slower besides.
    """
    return (weight * state).sum(-1)[None]


def _mixed(queries: Tensor, entries: Tensor) -> Tensor:
    """Attend from (H, D) to (T, 2G, D); -> (1, H x D)."""
    by_kind = entries.unflatten(1, (2, -1)).permute(1, 2, 0, 3).unsqueeze(2)
    keys, values = by_kind.unbind(0)  # (G, 1, T, D)
    groups, width = keys.shape[0], keys.shape[3]
    grouped = queries.view(groups, -1, 1, width)  # the heads that share keys side by side
    scores = (grouped * keys).sum(-1).float() / math.sqrt(width)  # (G, H / G, T)
    shares = scores.softmax(-1).to(values.dtype)
    return (shares[..., None] * values).sum(-2).view(1, -1)


def _normalised(state: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Do what `RMSNorm` does."""
    exact = state.float()
    exact = exact * torch.rsqrt(exact.square().mean(-1, keepdim=True) + eps)
    return weight * exact.to(state.dtype)
