"""Turns model calls into trace records: one run's header, tokens and steps.

Everything recorded is read from the call's output or from the real cache; nothing is derived from what
should have happened.

Shapes: S positions of a call, R recursions, V vocabulary.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal

import torch
from torch import Tensor

from mor_core.accounting import active_flops, dense_flops, kv_bytes_per_entry, vanilla_kv_bytes
from mor_core.cache import RecursionCache
from mor_core.checkpoint import LoadedCheckpoint
from mor_core.config import MoRConfig
from mor_core.model import MoROutput
from mor_core.rules import RoutingRule
from mor_core.schedule import layer_schedule
from mor_core.trace import CacheSlot, Phase, StepRecord, TokenRecord, TraceHeader
from mor_core.vocabulary import Vocabulary

NUM_ALTERNATIVES = 5
_PACKAGES = ("torch", "transformers", "mor-explorer")


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
        self.vocabulary = Vocabulary(loaded)
        self.stop_ids = _stop_ids(self.config)
        self.header = _header(loaded, kind, rule, sampling)
        self.last_logits = torch.empty(0)
        self._counts = [0] * self.config.num_recursions

    @torch.inference_mode()
    def call(self, ids: list[int], cache: RecursionCache | None, *, use_cache: bool) -> MoROutput:
        """Run tokens through the model after those in the cache; the logits of the last are kept for sampling."""
        fed = torch.tensor([ids], device=self.model.device)
        output: MoROutput = self.model(
            fed, past_key_values=cache, use_cache=use_cache, routing=self.rule
        )
        assert output.logits is not None
        self.last_logits = output.logits[0, -1].float().cpu()
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

    def complete(self, record: TokenRecord, output: MoROutput) -> TokenRecord:
        """Add to a drawn token what the call that processed it spent at it (the call's last position)."""
        self._describe_spent(record, self._spent(output), -1)
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
        flops = active_flops(
            self.config, num_tokens, counts, past_tokens=past_tokens, past_counts=past_counts
        )
        at_full_depth = dense_flops(self.config, num_tokens, past_tokens=past_tokens)
        self.header.full_depth_flops += at_full_depth
        self._counts = [old + new for old, new in zip(past_counts, counts, strict=True)]
        self.header.vanilla_kv_bytes = vanilla_kv_bytes(
            self.config, past_tokens + num_tokens, self.model.dtype.itemsize
        )
        slots = len(self.header.cache_slots)
        return StepRecord(
            phase=completed[0].phase,
            first_position=completed[0].position,
            num_tokens=len(completed),
            latency_s=latency_s,
            active_flops=flops,
            cache_entries=cache.num_entries() if cache is not None else [0] * slots,
            cache_bytes=cache.num_bytes() if cache is not None else [0] * slots,
            dense_flops=at_full_depth,
        )

    def finish(self, reason: str) -> str:
        """Close the run."""
        self.header.finish_reason = reason
        return reason

    def _new_record(self, token_id: int, position: int, phase: Phase) -> TokenRecord:
        recursions = self.config.num_recursions
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
        record.log_probability = float(log_probs[record.token_id])
        record.entropy = float(-(log_probs.exp() * log_probs).sum())
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
        assert trace.router is not None
        logits = trace.router_logits()[0]
        return _Spent(depth, _rows(logits), _rows(trace.router.scores(logits)), experts)

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


def _header(
    loaded: LoadedCheckpoint,
    kind: Literal["generate", "analyse"],
    rule: RoutingRule,
    sampling: dict[str, Any],
) -> TraceHeader:
    model, config = loaded.model, loaded.model.config
    device = model.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return TraceHeader(
        kind=kind,
        checkpoint=loaded.info.name,
        checkpoint_sha256=loaded.info.sha256,
        config=loaded.info.config,
        num_recursions=config.num_recursions,
        routing=rule.describe(config),
        kv_strategy=config.kv_strategy,
        cache_slots=describe_slots(config),
        kv_bytes_per_entry=kv_bytes_per_entry(config, model.dtype.itemsize),
        full_depth_flops=0,
        vanilla_kv_bytes=0,
        sampling=sampling,
        device=name,
        dtype=str(model.dtype).removeprefix("torch."),
        versions=package_versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        note=_experiment(loaded),
    )


def package_versions() -> dict[str, str]:
    """Name the versions of the packages that compute a run."""
    return {package: version(package) for package in _PACKAGES}


def _experiment(loaded: LoadedCheckpoint) -> str:
    if loaded.trained_recursions is None:
        return ""
    now = loaded.model.config.num_recursions
    return f"An experiment: {now} recursions, where the model was trained with {loaded.trained_recursions}."


def describe_slots(config: MoRConfig) -> list[CacheSlot]:
    """Name every cache slot, in order."""
    slots: dict[int, CacheSlot] = {}
    for call in layer_schedule(config):
        layer = call.layer_idx + 1
        if call.stage != "shared":
            label, recursion = f"{call.stage.capitalize()} {layer}", None
        elif config.kv_strategy == "shared":
            label, recursion = f"Shared L{layer}", 1
        else:
            recursion = (call.recursion_idx or 0) + 1
            label = f"R{recursion} L{layer}"
        slots.setdefault(call.cache_slot, CacheSlot(call.stage, recursion, layer, label))
    return [slots[number] for number in sorted(slots)]


def _rows(values: Tensor) -> list[list[float | None]]:
    """(S, R) to lists, NaN to `None`."""
    listed: list[list[float]] = values.tolist()
    return [[None if math.isnan(value) else value for value in row] for row in listed]


def _stop_ids(config: MoRConfig) -> set[int]:
    stop = config.eos_token_id
    if stop is None:
        return set()
    return set(stop) if isinstance(stop, list) else {stop}
