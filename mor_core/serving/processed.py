"""The result of one model call for tokens of one request: the same type for prefill, decode and analysis.

Shapes: n tokens of the call, R recursions, V vocabulary.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from mor_core.model.cache import RecursionCache
from mor_core.model.config import MoRConfig
from mor_core.model.layer_schedule import num_cache_slots
from mor_core.model.model import MoROutput


@dataclass(frozen=True)
class Processed:
    """Consecutive tokens of one request that went through the whole model; lists have one item per token.

    Attributes:
        first_position: position of the first token; the request's cache held as many tokens before.
        depths: recursions taken.
        router_logits: of the deciding router, for each recursion that scored the token; token-choice scores all depths.
        experts: the expert of the token in each Switch layer call.
        cached_slots: the cache slots that hold the token.
        cache_entries: tokens that each cache slot holds now.
        cache_bytes: bytes of these entries in the real tensors.
        latency_s: seconds of the call; in a batch, from the step that started the token to the one that finished it.
        logits: (n, V) float32, or only the last rows if the call requested no more.
    """

    first_position: int
    depths: list[int]
    router_logits: list[list[float]]
    experts: list[list[int]]
    cached_slots: list[list[int]]
    cache_entries: list[int]
    cache_bytes: list[int]
    latency_s: float
    logits: Tensor


def processed_by_call(output: MoROutput, config: MoRConfig, latency_s: float) -> Processed:
    """Return the result of a call whose batch is one sequence; synchronises with the device."""
    trace = output.recursion_trace
    assert trace is not None
    assert output.logits is not None
    depths = trace.depth()[0].tolist()
    logits = [[] for _ in depths] if trace.router is None else trace.router_logits()[0].tolist()
    log, cache = output.expert_log, output.past_key_values
    first = 0 if cache is None else cache.num_seen_tokens - len(depths)
    nothing = [0] * num_cache_slots(config)
    return Processed(
        first_position=first,
        depths=depths,
        router_logits=[[logit for logit in row if not math.isnan(logit)] for row in logits],
        experts=[[] for _ in depths] if log is None else log.choices()[0].tolist(),
        cached_slots=_cached_slots(cache, range(first, first + len(depths))),
        cache_entries=nothing if cache is None else cache.num_entries(),
        cache_bytes=nothing if cache is None else cache.num_bytes(),
        latency_s=latency_s,
        logits=output.logits[0].float(),
    )


def _cached_slots(cache: RecursionCache | None, positions: range) -> list[list[int]]:
    """Return the slots that hold each position, read from the cache itself."""
    if cache is None:
        return [[] for _ in positions]
    held = [set(cache.positions(slot).flatten().tolist()) for slot in range(len(cache.slots))]
    return [
        [slot for slot, found in enumerate(held) if position in found] for position in positions
    ]
