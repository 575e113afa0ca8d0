"""Runs as lists of JSON events, from which the browser draws live and recorded runs alike.

An event list only grows: sending a prefix again is harmless, and any suffix is an update.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mor_core.traces.thresholds import num_hidden_layers, threshold_logits
from mor_core.traces.trace import StepRecord, TokenRecord, Trace, TraceHeader

Event = dict[str, Any]


def header_event(header: TraceHeader) -> Event:
    """Return the fields of a trace header that the token strip needs."""
    return {
        "kind": "header",
        "header": {
            "run_kind": header.kind,
            "checkpoint": header.checkpoint,
            "sha8": header.checkpoint_sha256[:8],
            "seed": header.sampling.get("seed"),
            "created": header.created,
            "num_recursions": header.num_recursions,
            "routing": header.routing,
            "threshold_logits": threshold_logits(header),
            "router": vars(header.router),
            "kv_strategy": header.kv_strategy,
            "cache_slots": [asdict(slot) for slot in header.cache_slots],
            "kv_bytes_per_entry": header.kv_bytes_per_entry,
            "num_hidden_layers": num_hidden_layers(header.config),
            "expected_new_tokens": header.sampling.get("max_new_tokens", 0),
            "device": header.device,
            "dtype": header.dtype,
            "windows": header.windows,
            "has_lens": bool(header.lens),
        },
    }


def tokens_event(
    header: TraceHeader,
    completed: Sequence[TokenRecord],
    newest: TokenRecord | None,
    steps: Sequence[StepRecord],
) -> Event:
    """Return an event with new tokens and the model calls that computed them.

    `full_depth_flops` and `vanilla_kv_bytes` are the header's totals at this moment: the cost of the positions computed
    so far at full depth, and with the KV cache of a plain Transformer.

    Args:
        header: of the run.
        completed: tokens whose depth became known.
        newest: the newest token, which has no depth yet; `None` if there is none.
        steps: the model calls.
    """
    return {
        "kind": "tokens",
        "completed": [token.as_dict() for token in completed],
        "newest": None if newest is None else newest.as_dict(),
        "steps": [vars(step).copy() for step in steps],
        "full_depth_flops": header.full_depth_flops,
        "vanilla_kv_bytes": header.vanilla_kv_bytes,
    }


def end_event(finish_reason: str | None) -> Event:
    """Return the event that ends a run."""
    return {"kind": "end", "finish_reason": finish_reason}


def trace_events(trace: Trace) -> list[Event]:
    """Return the events of a finished or recorded run."""
    return [
        header_event(trace.header),
        tokens_event(trace.header, trace.tokens, None, trace.steps),
        end_event(trace.header.finish_reason),
    ]


def recorded_batch(trace: Trace) -> dict[str, Any]:
    """Return all events of a finished run and its status, in the form that the browser reads."""
    return {
        "from": 0,
        "events": trace_events(trace),
        "status": {"name": "done", "ahead": 0, "message": ""},
    }


def trace_id(trace: Trace) -> str:
    """Return a name made from the run's content, so that a page redraws when another trace replaces this one."""
    digest = hashlib.sha256(trace.header.created.encode())
    digest.update(trace.header.checkpoint_sha256.encode())
    digest.update(",".join(str(token.token_id) for token in trace.tokens).encode())
    digest.update(repr(trace.header.routing).encode())
    return digest.hexdigest()[:16]
