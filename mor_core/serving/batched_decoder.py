"""The layers once more, for one token each of several requests: few kernels, no masks, no padding.

Computes what `decoder.py` and `layers.py` compute; tests hold it against them. What differs is only the form: one
product makes queries, keys and values, rotation is one complex product (so heads are laid out in pairs), and each
request attends to its own entries alone. A request that is alone may run compiled parts (`aot_compile.py`).

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
from mor_core.model.layers import MLP, Attention, RMSNorm, rotary_frequencies
from mor_core.model.switch_experts import ExpertLog, SwitchMLP
from mor_core.serving.aot_compile import DecodeKernels
from mor_core.serving.packed_linear import Product
from mor_core.serving.request_kv_cache import KeyValueStore, pairwise


class Holder(Protocol):
    """A request as the layers see it.

    Attributes:
        stores: its keys and values, one a cache slot.
        experts: takes note of the expert that each Switch layer call sent the token to.
    """

    stores: list[KeyValueStore]
    experts: list[int]

    @property
    def position(self) -> int:
        """Of its token."""


@dataclass(frozen=True)
class _GatedMLP:
    """`MLP`'s matrices."""

    gate: Product
    up: Product
    down: Product

    @classmethod
    def of(cls, mlp: MLP) -> "_GatedMLP":
        return cls(
            *(Product(layer.weight) for layer in (mlp.gate_proj, mlp.up_proj, mlp.down_proj))
        )


@dataclass(frozen=True)
class _Weights:
    """One layer's weights as decode reads them; all but the first three products are the model's own tensors."""

    queries_keys_values: Product  # ((H + 2G) x D, E), queries and keys in pairs
    queries: Product  # the first rows of these
    keys_values: Product  # the others
    output: Product
    input_norm: Tensor
    post_norm: Tensor
    mlp: _GatedMLP | SwitchMLP

    @cached_property
    def after_projection(self) -> tuple[Tensor, ...]:
        """The rest of a layer, as its compiled part takes it; not of a Switch layer."""
        mlp = cast(_GatedMLP, self.mlp)
        matrices = (mlp.gate.weight, mlp.up.weight, mlp.down.weight)
        return self.output.weight, self.post_norm, *matrices


class DecodeLayers:
    """Runs stretches of a model's stack on single tokens. Holds no state of any request."""

    def __init__(self, model: MoRModel, kernels: DecodeKernels | None = None) -> None:
        """Lay out the weights of a model, which must not change afterwards; kernels are for a token that is alone."""
        config: MoRConfig = model.config
        # Read once: a Hugging Face config takes microseconds an attribute.
        self._heads, self._groups = config.num_attention_heads, config.num_key_value_heads
        self._width, self._eps = config.attention_head_dim, config.rms_norm_eps
        device = model.embed_tokens.weight.device
        self._has_own_parts = len(model.recursion_parts) > 0
        self._weights: dict[tuple[str, int, int | None], _Weights] = {}
        for call in model.schedule:
            if self._key(call) not in self._weights:
                self._weights[self._key(call)] = _weights(model, call)
        self._turns = _turns(config, device)
        self._turns_alone = torch.view_as_real(self._turns)
        self._kernels = kernels

    def run(
        self, calls: Sequence[Sequence[LayerCall]], holders: Sequence[Holder], states: Tensor
    ) -> Tensor:
        """Apply layer calls to one token each of several requests; (b, E) -> (b, E).

        Args:
            calls: per token, its layer calls in order. All have the same number, and calls at the same place use the
                same weights; their cache slots may differ.
            holders: the requests, whose stores are read and added to.
            states: (b, E).
        """
        if self._kernels is not None and len(holders) == 1:
            return self._run_alone(self._kernels, calls[0], holders[0], states)
        turns = self._turns_at([holder.position for holder in holders])
        for place, first in enumerate(calls[0]):
            weights = self._weights[self._key(first)]
            stores = [
                holder.stores[own[place].cache_slot]
                for holder, own in zip(holders, calls, strict=True)
            ]
            computing = [row for row, own in enumerate(calls) if own[place].computes_keys]
            normalised = _normalise(states, weights.input_norm, self._eps)
            mixed = self._attend(weights, normalised, turns, stores, computing)
            states = states + weights.output(mixed)
            normalised = _normalise(states, weights.post_norm, self._eps)
            states = states + self._feed_forward(weights.mlp, normalised, holders)
        return states

    def _run_alone(
        self, kernels: DecodeKernels, calls: Sequence[LayerCall], holder: Holder, state: Tensor
    ) -> Tensor:
        """Do as `run` does for one request by compiled parts; (1, E) -> (1, E)."""
        turn = self._turns_alone[holder.position]  # (D / 2, 2)
        for call in calls:
            weights = self._weights[self._key(call)]
            store, norm = holder.stores[call.cache_slot], weights.input_norm
            if call.computes_keys:
                matrix = weights.queries_keys_values.weight
                queries, entry = kernels.project(state, turn, norm, matrix)
                store.append(entry)
            else:
                queries = kernels.project_queries(state, turn, norm, weights.queries.weight)
            state = kernels.finish(state, queries, store.entries(), *weights.after_projection)
        return state

    def _turns_at(self, positions: list[int]) -> Tensor:
        """Return the rotations of some positions, (b, 1, D / 2)."""
        if len(positions) == 1:  # which needs no tensor of positions
            return self._turns[positions[0]][None, None]
        return self._turns[sent(positions, self._turns.device)][:, None]

    def _key(self, call: LayerCall) -> tuple[str, int, int | None]:
        """Name a call's weights; recursions share a layer's unless the model gives them parts of their own."""
        return call.stage, call.layer_idx, call.recursion_idx if self._has_own_parts else None

    def _attend(
        self,
        weights: _Weights,
        states: Tensor,
        turns: Tensor,
        stores: list[KeyValueStore],
        computing: list[int],
    ) -> Tensor:
        """Add the new entries of the rows that compute keys, then mix every row's values; -> (b, H x D)."""
        heads, width = self._heads, self._width
        rows = len(stores)
        if len(computing) == rows:
            projected = weights.queries_keys_values(states).view(rows, -1, width)
            _turn(projected[:, : heads + self._groups], turns)
            for store, entry in zip(stores, projected[:, heads:].unbind(0), strict=True):
                store.append(entry)
            queries = projected[:, :heads]
        else:
            queries = weights.queries(states).view(rows, heads, width)
            _turn(queries, turns)
            if computing:
                chosen = sent(computing, states.device)
                entries = weights.keys_values(states[chosen]).view(len(computing), -1, width)
                _turn(entries[:, : self._groups], turns[chosen])
                for row, entry in zip(computing, entries.unbind(0), strict=True):
                    stores[row].append(entry)
        return self._mix(queries, stores)

    def _mix(self, queries: Tensor, stores: list[KeyValueStore]) -> Tensor:
        """Attend from (b, H, D) queries, each to its own store; -> (b, H x D).

        One call a request. A batched one needs all caches at one stride, a mask, and reads the caches of those who do
        not attend: on a CPU that takes seven tenths of the time where all 32 attend, nine tenths where 21 do, as after
        a router, and one and a half times as long where 11 do (135M shape, AMD EPYC). The heads that share keys stand
        as several queries of one head.
        """
        shape = (1, self._groups, self._heads // self._groups, self._width)
        mixed = [
            F.scaled_dot_product_attention(query.view(shape), *store.read()).reshape(1, -1)
            for query, store in zip(queries.unbind(0), stores, strict=True)
        ]
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed)

    def _feed_forward(
        self, mlp: _GatedMLP | SwitchMLP, states: Tensor, holders: Sequence[Holder]
    ) -> Tensor:
        if isinstance(mlp, _GatedMLP):
            return mlp.down(F.silu(mlp.gate(states)).mul_(mlp.up(states)))
        log = ExpertLog()
        mixed: Tensor = mlp(states[:, None], log)[:, 0]
        for holder, expert in zip(holders, log.expert_idx[0][:, 0].tolist(), strict=True):
            holder.experts.append(expert)
        return mixed


def sent(numbers: list[int], device: torch.device) -> Tensor:
    """Return whole numbers as a tensor on the device, to which a GPU is not waited for."""
    if device.type != "cuda":
        return torch.tensor(numbers, device=device)
    return torch.tensor(numbers, pin_memory=True).to(device, non_blocking=True)


def _normalise(states: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Do what `RMSNorm` does; (b, E) -> (b, E)."""
    if states.dtype == torch.float32:  # one kernel less
        return F.rms_norm(states, weight.shape, weight, eps)
    return weight * F.rms_norm(states.float(), weight.shape, None, eps).to(states.dtype)


def _turn(heads: Tensor, turns: Tensor) -> None:
    """Rotate queries or keys (b, n, D), laid out in pairs, in their place; turns (b, 1, D / 2), complex."""
    pairs = heads.unflatten(-1, (-1, 2))
    if heads.dtype == torch.float32:
        torch.view_as_complex(pairs).mul_(turns)
        return
    turned = torch.view_as_complex(pairs.float()) * turns
    pairs.copy_(torch.view_as_real(turned))


def _turns(config: MoRConfig, device: torch.device) -> Tensor:
    """Return the rotation of every position and pair, (C, D / 2), complex64."""
    positions = torch.arange(config.max_position_embeddings, device=device, dtype=torch.float32)
    angles = positions[:, None] * rotary_frequencies(config, device)
    return torch.complex(angles.cos(), angles.sin())


def _weights(model: MoRModel, call: LayerCall) -> _Weights:
    layer = cast(nn.Module, getattr(model, call.stage)[call.layer_idx])
    parts = dict(layer._modules)
    if model.recursion_parts and call.recursion_idx:
        own = cast(nn.ModuleList, model.recursion_parts[call.recursion_idx - 1])
        parts |= own[call.layer_idx]._modules
    attention = cast(Attention, parts["self_attn"])
    width = attention.head_dim
    paired = [
        pairwise(matrix.unflatten(0, (-1, width)).transpose(1, 2)).transpose(1, 2).flatten(0, 1)
        for matrix in (attention.q_proj.weight.detach(), attention.k_proj.weight.detach())
    ]
    matrix = torch.cat((*paired, attention.v_proj.weight.detach()))
    num_queries = attention.q_proj.weight.shape[0]
    mlp = cast(MLP | SwitchMLP, parts["mlp"])
    return _Weights(
        queries_keys_values=Product(matrix),
        queries=Product(matrix[:num_queries]),
        keys_values=Product(matrix[num_queries:]),
        output=Product(attention.o_proj.weight),
        input_norm=cast(RMSNorm, parts["input_layernorm"]).weight.detach(),
        post_norm=cast(RMSNorm, parts["post_attention_layernorm"]).weight.detach(),
        mlp=_GatedMLP.of(mlp) if isinstance(mlp, MLP) else mlp,
    )
