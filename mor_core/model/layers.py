"""Llama-style building blocks: norm, rotary embedding, grouped-query attention, SwiGLU.

This module is independent of recursions, routers and caches; a layer gets the keys to attend to from a `KeyValueSlot`.

Shapes: B batch, S positions in this call, T key positions, H query heads, G key/value heads, D head width,
E hidden size, F MLP width.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mor_core.model.config import MoRConfig

# cuDNN attention makes a new plan for every sequence length, and the number of active tokens varies: on an H100 a
# training step of token-choice took four times as long as one of expert-choice. The other SDPA kernels need no plan.
torch.backends.cuda.enable_cudnn_sdp(False)

Rotary = tuple[Tensor, Tensor]


class KeyValueSlot(Protocol):
    """Stores the keys and values of one layer call, and returns those that its queries attend to."""

    computes_keys: bool

    def write(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values (B, G, S, D); return all that are visible, (B, G, T, D)."""

    def read(self) -> tuple[Tensor, Tensor]:
        """Return keys and values that an earlier recursion wrote, (B, G, T, D)."""

    def visibility(self) -> tuple[Tensor | None, bool]:
        """Return a boolean mask (B, 1, S, T), true where visible, or `None`; and whether to set SDPA's `is_causal`."""


class RMSNorm(nn.Module):
    """Root-mean-square layer normalisation. Source: arXiv 1910.07467."""

    def __init__(self, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.eps = eps

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Normalise the last axis; (..., E) -> (..., E), in the input's dtype."""
        return rms_norm(hidden_states, self.weight, self.eps)


def rms_norm(hidden_states: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Normalise the last axis in float32; (..., E) and (E,) -> (..., E), in the input's dtype."""
    if hidden_states.dtype == torch.float32:  # the same result with one kernel less
        return F.rms_norm(hidden_states, weight.shape, weight, eps)
    normalised = F.rms_norm(hidden_states.float(), weight.shape, None, eps)
    return weight * normalised.to(hidden_states.dtype)


def rotary_embedding(position_ids: Tensor, config: MoRConfig, dtype: torch.dtype) -> Rotary:
    """Return the cosines and the signed sines that `rotate` takes, at the given positions.

    Component i of a head is rotated with component i + D / 2, so cosines repeat in the second half of D; sines are
    negated in the first half.

    Shape: position_ids (B, S) -> two tensors (B, 1, S, D). Source: arXiv 2104.09864.
    """
    width = config.attention_head_dim
    steps = torch.arange(0, width, 2, device=position_ids.device, dtype=torch.float32)
    # Hugging Face's form: an algebraically equal one differs by an ulp, which saturated gates can amplify.
    frequencies = 1.0 / config.rope_theta ** (steps / width)  # (D / 2,)
    angles = position_ids[:, None, :, None].float() * frequencies
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=-1).to(dtype), torch.cat((-sin, sin), dim=-1).to(dtype)


def rotate(vectors: Tensor, rotary: Rotary) -> Tensor:
    """Rotate queries or keys (..., D) by their positions' angles; cosines and sines broadcast to them."""
    cos, signed_sin = rotary
    return vectors * cos + vectors.roll(vectors.shape[-1] // 2, -1) * signed_sin


class Attention(nn.Module):
    """Grouped-query self-attention over the keys that the slot returns. Source: arXiv 2305.13245."""

    def __init__(self, config: MoRConfig) -> None:
        super().__init__()
        self.head_dim = config.attention_head_dim
        query_width = config.num_attention_heads * self.head_dim
        key_width = config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, query_width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, key_width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, key_width, bias=False)
        self.o_proj = nn.Linear(query_width, config.hidden_size, bias=False)

    def forward(self, hidden_states: Tensor, rotary: Rotary, slot: KeyValueSlot) -> Tensor:
        """Attend from every position of this call; (B, S, E) -> (B, S, E)."""
        queries = rotate(self._heads(self.q_proj(hidden_states)), rotary)  # (B, H, S, D)
        if slot.computes_keys:
            keys, values = slot.write(
                rotate(self._heads(self.k_proj(hidden_states)), rotary),
                self._heads(self.v_proj(hidden_states)),
            )
        else:
            keys, values = slot.read()
        mask, is_causal = slot.visibility()
        if mask is not None and mask.is_cuda:
            # SDPA's memory-efficient kernel accepts masks but not grouped queries.
            keys, values = (
                each.repeat_interleave(queries.shape[1] // each.shape[1], dim=1)
                for each in (keys, values)
            )
        mixed = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=is_causal, enable_gqa=True
        )
        return self.o_proj(mixed.transpose(1, 2).flatten(2))

    def _heads(self, projected: Tensor) -> Tensor:
        """(B, S, heads x D) -> (B, heads, S, D)."""
        return projected.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class MLP(nn.Module):
    """SwiGLU feed-forward. Source: arXiv 2002.05202."""

    def __init__(self, config: MoRConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Transform each position independently; (B, S, E) -> (B, S, E)."""
        return self.down_proj(F.silu(self.gate_proj(hidden_states)) * self.up_proj(hidden_states))
