"""The layers for one token each of several requests: few kernels, no masks, no padding.

Computes what `decoder.py` computes, with the norm and the rotary embedding of `layers.py`; tests compare the two. The
differences: one product makes queries, keys and values, and each request attends to its own cache entries only. A step
with a single token may run compiled modules (`aot_compile.py`).

Shapes: b tokens, E hidden size, H query heads, G key/value heads, D head width, F MLP width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mor_core.model.backbone import MoRModel
from mor_core.model.config import MoRConfig
from mor_core.model.layer_schedule import LayerCall
from mor_core.model.layers import (
    MLP,
    Attention,
    RMSNorm,
    Rotary,
    rms_norm,
    rotary_embedding,
    rotate,
)
from mor_core.model.switch_experts import ExpertLog, SwitchMLP
from mor_core.serving.aot_compile import CompiledModules
from mor_core.serving.packed_linear import PackedLinear
from mor_core.serving.request_kv_cache import KeyValueStore


class CachedRequest(Protocol):
    """What the layers need of a request.

    Attributes:
        stores: its keys and values, one store per cache slot.
        experts: each Switch layer call appends the expert of the token.
    """

    stores: list[KeyValueStore]
    experts: list[int]

    @property
    def position(self) -> int:
        """The position of its token."""


@dataclass(frozen=True)
class _GatedMLP:
    """The matrices of an `MLP`."""

    gate: PackedLinear
    up: PackedLinear
    down: PackedLinear

    @classmethod
    def of(cls, mlp: MLP) -> "_GatedMLP":
        return cls(
            *(PackedLinear(layer.weight) for layer in (mlp.gate_proj, mlp.up_proj, mlp.down_proj))
        )


@dataclass(frozen=True)
class _Weights:
    """One layer's weights as decode reads them; all but the first three matrices are the model's own tensors."""

    queries_keys_values: PackedLinear  # ((H + 2G) x D, E)
    queries: PackedLinear  # its first rows
    keys_values: PackedLinear  # its other rows
    output: PackedLinear
    input_norm: Tensor
    post_norm: Tensor
    mlp: _GatedMLP | SwitchMLP

    @cached_property
    def after_projection(self) -> tuple[Tensor, ...]:
        """The weights that `AttentionMLP` takes, in its order; not for a Switch layer."""
        mlp = cast(_GatedMLP, self.mlp)
        matrices = (mlp.gate.weight, mlp.up.weight, mlp.down.weight)
        return self.output.weight, self.post_norm, *matrices


class BatchedDecoder:
    """Runs layer calls of a model on single tokens. Holds no state of any request."""

    def __init__(self, model: MoRModel, compiled: CompiledModules | None = None) -> None:
        """Lay out the weights of a model, which must not change afterwards; `compiled` runs single-token steps."""
        config: MoRConfig = model.config
        # Read once: each attribute of a Hugging Face config takes microseconds.
        self._heads, self._groups = config.num_attention_heads, config.num_key_value_heads
        self._width, self._eps = config.attention_head_dim, config.rms_norm_eps
        device = model.embed_tokens.weight.device
        self._has_own_parts = len(model.recursion_parts) > 0
        self._weights: dict[tuple[str, int, int | None], _Weights] = {}
        for call in model.schedule:
            if self._key(call) not in self._weights:
                self._weights[self._key(call)] = _weights(model, call)
        positions = torch.arange(config.max_position_embeddings, device=device)[None]
        tables = rotary_embedding(positions, config, model.embed_tokens.weight.dtype)
        self._rotary = tables[0][0, 0], tables[1][0, 0]  # (C, D) each
        self._compiled = compiled

    def run(
        self,
        calls: Sequence[Sequence[LayerCall]],
        requests: Sequence[CachedRequest],
        states: Tensor,
    ) -> Tensor:
        """Apply layer calls to one token each of several requests; (b, E) -> (b, E).

        Args:
            calls: per token, its layer calls in order. All tokens have equally many, and the n-th calls of all use
                the same weights; their cache slots may differ.
            requests: the requests, whose stores are read and appended to.
            states: (b, E).
        """
        if self._compiled is not None and len(requests) == 1:
            return self._run_compiled(self._compiled, calls[0], requests[0], states)
        rotary = self._rotary_at([request.position for request in requests])
        for number, first in enumerate(calls[0]):
            weights = self._weights[self._key(first)]
            stores = [
                request.stores[own[number].cache_slot]
                for request, own in zip(requests, calls, strict=True)
            ]
            computing = [row for row, own in enumerate(calls) if own[number].computes_keys]
            normalised = rms_norm(states, weights.input_norm, self._eps)
            mixed = self._attend(weights, normalised, rotary, stores, computing)
            states = states + weights.output(mixed)
            normalised = rms_norm(states, weights.post_norm, self._eps)
            states = states + self._feed_forward(weights.mlp, normalised, requests)
        return states

    def _run_compiled(
        self,
        compiled: CompiledModules,
        calls: Sequence[LayerCall],
        request: CachedRequest,
        state: Tensor,
    ) -> Tensor:
        """Do the same as `run` for one request, with compiled modules; (1, E) -> (1, E)."""
        cos, sin = (table[request.position] for table in self._rotary)  # (D,) each
        for call in calls:
            weights = self._weights[self._key(call)]
            store, norm = request.stores[call.cache_slot], weights.input_norm
            if call.computes_keys:
                matrix = weights.queries_keys_values.weight
                queries, entry = compiled.qkv(state, cos, sin, norm, matrix)
                store.append(entry)
            else:
                queries = compiled.queries(state, cos, sin, norm, weights.queries.weight)
            entries = store.entries()
            state = compiled.attention_mlp(state, queries, entries, *weights.after_projection)
        return state

    def _rotary_at(self, positions: list[int]) -> Rotary:
        """Return cosines and signed sines of some positions, (b, 1, D) each."""
        if len(positions) == 1:  # an int indexes faster than a tensor
            index: int | Tensor = positions[0]
        else:
            index = to_device(positions, self._rotary[0].device)
        cos, sin = (table[index].view(-1, 1, self._width) for table in self._rotary)
        return cos, sin

    def _key(self, call: LayerCall) -> tuple[str, int, int | None]:
        """Return the key of a call's weights; recursions share them unless the model has recursion-specific parts."""
        return call.stage, call.layer_idx, call.recursion_idx if self._has_own_parts else None

    def _attend(
        self,
        weights: _Weights,
        states: Tensor,
        rotary: Rotary,
        stores: list[KeyValueStore],
        computing: list[int],
    ) -> Tensor:
        """Append the cache entries of the rows that compute keys, then attend from every row; -> (b, H x D)."""
        heads, width = self._heads, self._width
        rows = len(stores)
        if len(computing) == rows:
            projected = weights.queries_keys_values(states).view(rows, -1, width)
            rotated = projected[:, : heads + self._groups]  # queries, then keys
            rotated.copy_(rotate(rotated, rotary))
            for store, entry in zip(stores, projected[:, heads:].unbind(0), strict=True):
                store.append(entry)
            queries = projected[:, :heads]
        else:
            queries = rotate(weights.queries(states).view(rows, heads, width), rotary)
            if computing:
                chosen = to_device(computing, states.device)
                entries = weights.keys_values(states[chosen]).view(len(computing), -1, width)
                keys = entries[:, : self._groups]
                keys.copy_(rotate(keys, (rotary[0][chosen], rotary[1][chosen])))
                for row, entry in zip(computing, entries.unbind(0), strict=True):
                    stores[row].append(entry)
        return self._attend_each(queries, stores)

    def _attend_each(self, queries: Tensor, stores: list[KeyValueStore]) -> Tensor:
        """Attend from (b, H, D) queries, each to its own store; -> (b, H x D).

        One SDPA call per request. A batched call needs all caches at one stride and a mask, and also reads the caches
        of requests that do not attend: on a CPU it takes 0.7 times as long where all of 32 requests attend, 0.9 times
        where 21 do, as after a router, and 1.5 times where 11 do (135M shape, AMD EPYC). Query heads that share keys
        are passed as several queries of one head.
        """
        shape = (1, self._groups, self._heads // self._groups, self._width)
        mixed = [
            F.scaled_dot_product_attention(query.view(shape), *store.read()).reshape(1, -1)
            for query, store in zip(queries.unbind(0), stores, strict=True)
        ]
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed)

    def _feed_forward(
        self, mlp: _GatedMLP | SwitchMLP, states: Tensor, requests: Sequence[CachedRequest]
    ) -> Tensor:
        if isinstance(mlp, _GatedMLP):
            return mlp.down(F.silu(mlp.gate(states)).mul_(mlp.up(states)))
        log = ExpertLog()
        mixed: Tensor = mlp(states[:, None], log)[:, 0]
        for request, expert in zip(requests, log.expert_idx[0][:, 0].tolist(), strict=True):
            request.experts.append(expert)
        return mixed


def to_device(numbers: list[int], device: torch.device) -> Tensor:
    """Return integers as a tensor on the device, copied to a GPU without synchronising."""
    if device.type != "cuda":
        return torch.tensor(numbers, device=device)
    return torch.tensor(numbers, pin_memory=True).to(device, non_blocking=True)


def _weights(model: MoRModel, call: LayerCall) -> _Weights:
    layer = cast(nn.Module, getattr(model, call.stage)[call.layer_idx])
    parts = dict(layer._modules)
    if model.recursion_parts and call.recursion_idx:
        own = cast(nn.ModuleList, model.recursion_parts[call.recursion_idx - 1])
        parts |= own[call.layer_idx]._modules
    attention = cast(Attention, parts["self_attn"])
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    matrix = torch.cat([projection.weight.detach() for projection in projections])
    num_queries = attention.q_proj.weight.shape[0]
    mlp = cast(MLP | SwitchMLP, parts["mlp"])
    return _Weights(
        queries_keys_values=PackedLinear(matrix),
        queries=PackedLinear(matrix[:num_queries]),
        keys_values=PackedLinear(matrix[num_queries:]),
        output=PackedLinear(attention.o_proj.weight),
        input_norm=cast(RMSNorm, parts["input_layernorm"]).weight.detach(),
        post_norm=cast(RMSNorm, parts["post_attention_layernorm"]).weight.detach(),
        mlp=_GatedMLP.of(mlp) if isinstance(mlp, MLP) else mlp,
    )
