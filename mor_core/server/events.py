"""Runs as lists of plain JSON events: what the browser draws, whether a run is live or recorded.

An event list only grows, so any prefix can be sent again and any suffix is an update. Knows neither
Streamlit nor torch.
"""

from dataclasses import asdict
from typing import Any

from mor_core.traces.thresholds import num_hidden_layers, threshold_logits
from mor_core.traces.trace import StepRecord, TokenRecord, Trace, TraceHeader
from mor_core.traces.trace_updates import TraceUpdate

Event = dict[str, Any]


def header_event(header: TraceHeader) -> Event:
    """Describe what produces the run, as far as the token strip needs it."""
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


def tokens_event(update: TraceUpdate) -> Event:
    """Report tokens whose depth became known, the newest one that has none yet, and the model call behind them.

    The totals are the header's at this moment: what the positions computed so far would have cost otherwise.
    """
    steps = [] if update.step is None else [update.step]
    newest = None if update.newest is None else update.newest.as_dict()
    return _tokens(update.header, update.completed, newest, steps)


def end_event(finish_reason: str | None) -> Event:
    """Close a run."""
    return {"kind": "end", "finish_reason": finish_reason}


def trace_events(trace: Trace) -> list[Event]:
    """Turn a finished or recorded run into events."""
    return [
        header_event(trace.header),
        _tokens(trace.header, trace.tokens, None, trace.steps),
        end_event(trace.header.finish_reason),
    ]


def _tokens(
    header: TraceHeader,
    completed: list[TokenRecord],
    newest: dict[str, Any] | None,
    steps: list[StepRecord],
) -> Event:
    return {
        "kind": "tokens",
        "completed": [token.as_dict() for token in completed],
        "newest": newest,
        "steps": [vars(step).copy() for step in steps],
        "full_depth_flops": header.full_depth_flops,
        "vanilla_kv_bytes": header.vanilla_kv_bytes,
    }
