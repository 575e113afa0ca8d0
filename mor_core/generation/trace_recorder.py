"""Turns model calls into trace records: one run's header, tokens and steps.

All records are read from the call's output or from the real cache, never derived from the expected behaviour.

Shapes: n tokens of a call, R recursions, V vocabulary.
"""

import time
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
from mor_core.serving.processed import Processed, processed_by_call
from mor_core.traces.trace import Phase, StepRecord, TokenRecord

NUM_ALTERNATIVES = 5


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
        self._has_auxiliary_router = self.config.router_supervision == "aux_router"
        self.vocabulary = vocabulary_of(loaded.tokenizer)
        self.stop_ids = _stop_ids(self.config)
        self.header = trace_header(loaded, kind, rule, sampling)
        self._decode_flops = DecodeFlops(self.config)
        self._vanilla_bytes_per_token = vanilla_kv_bytes(self.config, 1, self.model.dtype.itemsize)
        self._counts = [0] * self.config.num_recursions

    @torch.inference_mode()
    def call(
        self, ids: list[int], cache: RecursionCache | None = None, *, use_cache: bool
    ) -> tuple[Processed, RecursionCache | None]:
        """Run tokens through the model after those in the cache; return the result and the cache."""
        started = time.perf_counter()
        input_ids = torch.tensor([ids], device=self.model.device)
        output: MoROutput = self.model(
            input_ids, past_key_values=cache, use_cache=use_cache, routing=self.rule
        )
        latency_s = time.perf_counter() - started
        return processed_by_call(output, self.config, latency_s), output.past_key_values

    def read_tokens(
        self, processed: Processed, ids: list[int], start: int = 0, *, skip: int = 0
    ) -> list[TokenRecord]:
        """Return records of the tokens of a call that were not chosen by the model.

        Args:
            processed: the call, with the logits of all its tokens.
            ids: its token ids.
            start: position of the first token in the text.
            skip: number of leading tokens that already have records from an earlier call.
        """
        log_probs = processed.logits.log_softmax(-1).cpu()  # (n, V)
        records = []
        for index in range(skip, len(ids)):
            record = self._new_record(ids[index], start + index, "prefill")
            if index > 0:
                self._describe_choice(record, log_probs[index - 1])
            self._describe_processed(record, processed, index)
            records.append(record)
        return records

    def chosen_token(self, token_id: int, position: int, logits: Tensor) -> TokenRecord:
        """Return the record of a token just sampled from `logits` (V,), which the model has not processed yet."""
        record = self._new_record(token_id, position, "decode")
        self._describe_choice(record, logits.log_softmax(-1))
        return record

    def complete(self, record: TokenRecord, processed: Processed) -> TokenRecord:
        """Complete a sampled token's record with the call that processed it, as the call's last token."""
        self._describe_processed(record, processed, -1)
        record.latency_s = processed.latency_s
        return record

    def record_step(self, processed: Processed, completed: list[TokenRecord]) -> StepRecord:
        """Return the record of a call that completed some tokens, and add it to the header's totals."""
        past, depths = processed.first_position, processed.depths
        before = self._counts if past else [0] * len(self._counts)
        if len(depths) == 1:  # from precomputed sums, which are faster
            depth = depths[0]
            active = self._decode_flops.active(depth, past, before)
            dense = self._decode_flops.dense(past)
            self._counts = [held + (index < depth) for index, held in enumerate(before)]
        else:
            counts = [sum(depth > index for depth in depths) for index in range(len(before))]
            active = active_flops(
                self.config, len(depths), counts, past_tokens=past, past_counts=before
            )
            dense = dense_flops(self.config, len(depths), past_tokens=past)
            self._counts = [old + new for old, new in zip(before, counts, strict=True)]
        self.header.full_depth_flops += dense
        self.header.vanilla_kv_bytes = (past + len(depths)) * self._vanilla_bytes_per_token
        return StepRecord(
            phase=completed[0].phase,
            first_position=completed[0].position,
            num_tokens=len(completed),
            latency_s=processed.latency_s,
            active_flops=active,
            cache_entries=processed.cache_entries,
            cache_bytes=processed.cache_bytes,
            dense_flops=dense,
        )

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
        """Add the token's probability; log_probs (V,) before temperature and top-k."""
        numbers = log_probs.numpy()  # NumPy has less overhead per operation
        record.log_probability = float(numbers[record.token_id])
        record.entropy = -float(np.exp(numbers).dot(numbers))
        record.alternatives = self.vocabulary.most_probable(log_probs, NUM_ALTERNATIVES)

    def _describe_processed(self, record: TokenRecord, processed: Processed, index: int) -> None:
        """Add the result for one token of a call."""
        record.recursion_depth = processed.depths[index]
        record.expert_idx = processed.experts[index]
        record.cached_slots = processed.cached_slots[index]
        known = processed.router_logits[index]
        if known:
            missing: list[float | None] = [None] * (self.header.num_recursions - len(known))
            record.router_logits = [*known, *missing]
            record.router_scores = [*self._scores(known), *missing]

    def _scores(self, logits: list[float]) -> list[float]:
        """Turn one token's deciding logits into scores."""
        assert self._router is not None
        if self._has_auxiliary_router:
            return list(map(sigmoid, logits))
        return self._router.token_scores(logits)


def _stop_ids(config: MoRConfig) -> set[int]:
    stop = config.eos_token_id
    if stop is None:
        return set()
    return set(stop) if isinstance(stop, list) else {stop}
