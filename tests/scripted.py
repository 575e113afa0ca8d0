"""Runs made of hand-written records, for tests of the code that transports and draws runs, not of the model."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator

from mor_core.model.router_types import RouterTraits
from mor_core.server.jobs import Job
from mor_core.server.manager import JobManager
from mor_core.traces.trace import (
    Alternative,
    CacheSlot,
    StepRecord,
    TokenRecord,
    Trace,
    TraceHeader,
)
from mor_core.traces.trace_updates import TraceUpdate, collect_trace
from tests.waiting import PATIENCE_S

DEPTHS = (2, 1, 3, 1, 2, 3)
LOGITS = {1: [2.0, -1.0, None], 2: [2.0, 1.0, -1.0], 3: [2.0, 1.0, 0.5]}
SLOTS = {1: [0, 1, 4], 2: [0, 1, 2, 4], 3: [0, 1, 2, 3, 4]}
ENTRY_BYTES = 64
FULL_DEPTH_FLOPS = 100
PROMPT_TOKENS = 2
ENDLESS = 10**9
"""The length of a run that continues until it is cancelled."""


def scripted_header() -> TraceHeader:
    shared = [CacheSlot("shared", recursion, 1, f"R{recursion} L1") for recursion in (1, 2, 3)]
    return TraceHeader(
        kind="generate",
        checkpoint="scripted",
        checkpoint_sha256="ab" * 32,
        config={
            "num_prelude_layers": 1,
            "num_coda_layers": 1,
            "num_recursions": 3,
            "num_layers_per_recursion": 1,
            "capacity_factors": None,
        },
        router=RouterTraits("none", False, False, False, num_logits=0),
        num_recursions=3,
        routing={"name": "causal", "gate": "learned", "thresholds": [0.5]},
        kv_strategy="recursion_wise",
        cache_slots=[
            CacheSlot("prelude", None, 1, "Prelude 1"),
            *shared,
            CacheSlot("coda", None, 1, "Coda 1"),
        ],
        kv_bytes_per_entry=ENTRY_BYTES,
        full_depth_flops=0,
        vanilla_kv_bytes=0,
        sampling={"temperature": 0.7, "top_k": 50, "seed": 1, "max_new_tokens": 4},
        device="cpu",
        dtype="float32",
        versions={},
        created="2026-01-01T00:00:00+00:00",
    )


def scripted_token(position: int, text: str, depth: int | None) -> TokenRecord:
    logits = list(LOGITS[depth]) if depth else [None] * 3
    return TokenRecord(
        position=position,
        token_id=position,
        text="<|endoftext|>" if position == 0 else text,
        token_bytes="" if position == 0 else text.encode().hex(),
        special=position == 0,
        phase="prefill" if position < PROMPT_TOKENS else "decode",
        recursion_depth=depth,
        router_logits=logits,
        router_scores=logits,
        cached_slots=list(SLOTS[depth]) if depth else [],
        log_probability=None if position == 0 else -0.5,
        entropy=None if position == 0 else 1.5,
        alternatives=[] if position == 0 else [Alternative(position, text, 0.6)],
    )


def scripted_run(
    name: str = "", length: int = len(DEPTHS), delay_s: float = 0.0
) -> Callable[[Callable[[], bool]], Iterator[TraceUpdate]]:
    """Return a job's work: a prompt of two tokens, then one token per step; each token's text contains `name`.

    It does not check whether to stop; its job does, before every step.
    """

    def token(position: int) -> TokenRecord:
        return scripted_token(position, f" {name}{position}", DEPTHS[position % len(DEPTHS)])

    def work(should_stop: Callable[[], bool]) -> Iterator[TraceUpdate]:
        header = scripted_header()
        entries = [0] * len(header.cache_slots)
        single = ((i, i + 1) for i in range(PROMPT_TOKENS, length))
        for first, last in itertools.chain([(0, PROMPT_TOKENS)], single):
            time.sleep(delay_s)
            completed = [token(position) for position in range(first, last)]
            for slot in (slot for token in completed for slot in token.cached_slots):
                entries[slot] += 1
            header.full_depth_flops += FULL_DEPTH_FLOPS * len(completed)
            header.vanilla_kv_bytes += 5 * ENTRY_BYTES * len(completed)
            step = StepRecord(
                phase=completed[0].phase,
                first_position=first,
                num_tokens=len(completed),
                latency_s=0.01,
                active_flops=60 * len(completed),
                cache_entries=list(entries),
                cache_bytes=[ENTRY_BYTES * count for count in entries],
                dense_flops=FULL_DEPTH_FLOPS * len(completed),
            )
            is_last = last == length
            newest = None if is_last else scripted_token(last, token(last).text, None)
            yield TraceUpdate(header, completed, newest, step, "length" if is_last else None)

    return work


def held_worker(manager: JobManager, model_key: str) -> tuple[Job, threading.Event]:
    """Return a job that blocks its model's worker, and the event that releases it."""
    begun, released = threading.Event(), threading.Event()

    def work(should_stop: Callable[[], bool]) -> Iterator[TraceUpdate | None]:
        begun.set()
        released.wait(PATIENCE_S)
        yield None

    job = manager.submit(model_key, work)
    assert begun.wait(PATIENCE_S)
    return job, released


def scripted_trace() -> Trace:
    """Return the scripted run as a finished trace."""
    trace = collect_trace(scripted_run()(lambda: False))
    trace.header.finish_reason = "length"
    return trace
