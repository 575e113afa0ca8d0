"""Turns model calls into trace records: one run's header, tokens and steps.

Everything recorded is read from the call's output or from the real cache; nothing is derived from what
should have happened.

Shapes: S positions of a call, R recursions, V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.checkpoints.token_text import vocabulary_of
from mor_core.common.logistic import sigmoid
from mor_core.generation.trace_header import trace_header
from mor_core.model.accounting import (
    DecodeFlops,
    active_flops,
    dense_flops,
    vanilla_kv_bytes,
)
from mor_core.model.cache import RecursionCache
from mor_core.model.config import MoRConfig
from mor_core.model.model import MoROutput
from mor_core.model.routers import Router
from mor_core.model.routing_rules import RoutingRule
from mor_core.serving.request_state import Processed
from mor_core.traces.trace import Phase, StepRecord, TokenRecord

NUM_ALTERNATIVES = 5


@dataclass(frozen=True)
class _Spent:
    """What a call spent at each of its positions, on the host: S rows."""

    depth: list[int]
    logits: list[list[float | None]]
    scores: list[list[float | None]]
    experts: list[list[int]]


class Recorder:
    """Records one run of one checkpoint under one rule."""

    def __init__(
        self,
        loaded: LoadedCheckpoint,
        kind: Literal["generate", "analyse"],
        rule: RoutingRule,
        sampling: dict[str, Any],
    ) -> None:
        self.model = loaded.model
        self.config: MoRConfig = loaded.model.config
        self.rule = rule
        self._router = cast(Router, self.model.model.routers[0]) if self.config.has_router else None
        self._asks_auxiliary = self.config.router_supervision == "aux_router"
        self.vocabulary = vocabulary_of(loaded.tokenizer)
        self.stop_ids = _stop_ids(self.config)
        self.header = trace_header(loaded, kind, rule, sampling)
        self._decode_flops = DecodeFlops(self.config)
        self._vanilla_bytes_per_token = vanilla_kv_bytes(self.config, 1, self.model.dtype.itemsize)
        self._counts = [0] * self.config.num_recursions

    @torch.inference_mode()
    def call(self, ids: list[int], cache: RecursionCache | None, *, use_cache: bool) -> MoROutput:
        """Run tokens through the model after those in the cache."""
        fed = torch.tensor([ids], device=self.model.device)
        output: MoROutput = self.model(
            fed, past_key_values=cache, use_cache=use_cache, routing=self.rule
        )
        return output

    def read_tokens(
        self, output: MoROutput, ids: list[int], start: int, *, from_position: int = 0
    ) -> list[TokenRecord]:
        """Return records of a prefill's tokens, whose first is at position `start`, from `from_position` on."""
        spent = self._spent(output)
        held = self._held_positions(output)
        assert output.logits is not None
        log_probs = output.logits[0].float().log_softmax(-1).cpu()  # (S, V)
        records = []
        for place in range(from_position - start, len(ids)):
            record = self._new_record(ids[place], start + place, "prefill")
            if place > 0:
                self._describe_choice(record, log_probs[place - 1])
            self._describe_spent(record, spent, place)
            record.cached_slots = [
                slot for slot, positions in enumerate(held) if place in positions
            ]
            records.append(record)
        return records

    def chosen_token(self, token_id: int, position: int, logits: Tensor) -> TokenRecord:
        """Return the record of a token just drawn from `logits` (V,); what is spent at it is not known yet."""
        record = self._new_record(token_id, position, "decode")
        self._describe_choice(record, logits.log_softmax(-1))
        return record

    def complete(self, record: TokenRecord, processed: Processed) -> TokenRecord:
        """Add to a drawn token what the engine spent at it."""
        record.recursion_depth = processed.depth
        record.latency_s = processed.latency_s
        record.expert_idx = processed.experts
        record.cached_slots = processed.cached_slots
        if processed.router_logits:
            known = processed.router_logits
            missing: list[float | None] = [None] * (self.header.num_recursions - len(known))
            record.router_logits = [*known, *missing]
            record.router_scores = [*self._scores(known), *missing]
        return record

    def complete_from(
        self, record: TokenRecord, output: MoROutput, latency_s: float
    ) -> TokenRecord:
        """Add to a drawn token what the call that processed it spent at it (the call's last position)."""
        self._describe_spent(record, self._spent(output), -1)
        record.latency_s = latency_s
        held = self._held_positions(output, newest_only=True)
        record.cached_slots = [slot for slot, found in enumerate(held) if record.position in found]
        return record

    def record_step(
        self,
        output: MoROutput,
        completed: list[TokenRecord],
        latency_s: float,
    ) -> StepRecord:
        """Return the record of a call, which finished some tokens, and add it to the header's totals."""
        routed, cache = output.recursion_trace, output.past_key_values
        assert routed is not None
        counts = routed.active_counts()[0]
        num_tokens = routed.real.num_positions
        past_tokens = 0 if cache is None else cache.num_seen_tokens - num_tokens
        past_counts = self._counts if past_tokens else [0] * len(counts)
        self._counts = [old + new for old, new in zip(past_counts, counts, strict=True)]
        nothing = [0] * len(self.header.cache_slots)
        return self._add_step(
            StepRecord(
                phase=completed[0].phase,
                first_position=completed[0].position,
                num_tokens=len(completed),
                latency_s=latency_s,
                active_flops=active_flops(
                    self.config,
                    num_tokens,
                    counts,
                    past_tokens=past_tokens,
                    past_counts=past_counts,
                ),
                cache_entries=nothing if cache is None else cache.num_entries(),
                cache_bytes=nothing if cache is None else cache.num_bytes(),
                dense_flops=dense_flops(self.config, num_tokens, past_tokens=past_tokens),
            ),
            past_tokens + num_tokens,
        )

    def record_decode(self, completed: TokenRecord, processed: Processed) -> StepRecord:
        """Return the record of one token's way through the engine, and add it to the header's totals."""
        past, counts = processed.position, self._counts
        self._counts = [held + (index < processed.depth) for index, held in enumerate(counts)]
        return self._add_step(
            StepRecord(
                phase=completed.phase,
                first_position=completed.position,
                num_tokens=1,
                latency_s=processed.latency_s,
                active_flops=self._decode_flops.active(processed.depth, past, counts),
                cache_entries=processed.cache_entries,
                cache_bytes=processed.cache_bytes,
                dense_flops=self._decode_flops.dense(past),
            ),
            past + 1,
        )

    def _add_step(self, step: StepRecord, num_tokens: int) -> StepRecord:
        """Add a step, after which so many tokens were read, to the header's totals."""
        assert step.dense_flops is not None
        self.header.full_depth_flops += step.dense_flops
        self.header.vanilla_kv_bytes = num_tokens * self._vanilla_bytes_per_token
        return step

    def finish(self, reason: str) -> str:
        """Close the run."""
        self.header.finish_reason = reason
        return reason

    def _new_record(self, token_id: int, position: int, phase: Phase) -> TokenRecord:
        recursions = self.header.num_recursions
        return TokenRecord(
            position=position,
            token_id=token_id,
            text=self.vocabulary.text(token_id),
            token_bytes=self.vocabulary.token_bytes(token_id).hex(),
            special=self.vocabulary.is_special(token_id),
            phase=phase,
            recursion_depth=None,
            router_logits=[None] * recursions,
            router_scores=[None] * recursions,
            cached_slots=[],
        )

    def _describe_choice(self, record: TokenRecord, log_probs: Tensor) -> None:
        """Add how probable the token was; log_probs (V,) before temperature and top-k."""
        numbers = log_probs.numpy()  # which has less to start for each of them
        record.log_probability = float(numbers[record.token_id])
        record.entropy = -float(np.exp(numbers).dot(numbers))
        record.alternatives = self.vocabulary.most_probable(log_probs, NUM_ALTERNATIVES)

    def _describe_spent(self, record: TokenRecord, spent: _Spent, place: int) -> None:
        record.recursion_depth = spent.depth[place]
        record.router_logits = spent.logits[place]
        record.router_scores = spent.scores[place]
        record.expert_idx = spent.experts[place]

    def _spent(self, output: MoROutput) -> _Spent:
        """Bring a call's routing to the host."""
        trace = output.recursion_trace
        assert trace is not None
        depth = trace.depth()[0].tolist()
        log = output.expert_log
        experts = [[] for _ in depth] if log is None else log.choices()[0].tolist()
        if not self.config.has_router:
            nothing: list[list[float | None]] = [[None] * self.config.num_recursions for _ in depth]
            return _Spent(depth, nothing, nothing, experts)
        logits = _rows(trace.router_logits()[0])
        return _Spent(depth, logits, _rows(trace.router_scores()[0]), experts)

    def _scores(self, logits: list[float]) -> list[float]:
        """Turn one token's decisive logits into scores, as a call's own record does."""
        assert self._router is not None
        if self._asks_auxiliary:
            return list(map(sigmoid, logits))
        return self._router.token_scores(logits)

    def _held_positions(self, output: MoROutput, *, newest_only: bool = False) -> list[set[int]]:
        """Return the positions that each slot of the real cache holds (only its newest, if that is enough)."""
        cache = output.past_key_values
        slots = range(len(self.header.cache_slots))
        if cache is None:
            return [set() for _ in slots]
        held = []
        for slot in slots:
            positions = cache.positions(slot)
            row = positions[0, -1:] if newest_only and positions.numel() else positions.flatten()
            held.append(set(row.tolist()))
        return held


def _rows(values: Tensor) -> list[list[float | None]]:
    """(S, R) to lists, NaN to `None`."""
    listed: list[list[float]] = values.tolist()
    return [[None if math.isnan(value) else value for value in row] for row in listed]


def _stop_ids(config: MoRConfig) -> set[int]:
    stop = config.eos_token_id
    if stop is None:
        return set()
    return set(stop) if isinstance(stop, list) else {stop}
