"""Runs as lists of plain JSON events: what the browser draws, whether a run is live or recorded.

An event list only grows, so any prefix can be sent again and any suffix is an update. Knows neither
Streamlit nor torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from app.style.theme import depth_colours
from mor_core.common.logistic import logit
from mor_core.traces.trace import StepRecord, TokenRecord, Trace, TraceHeader

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
            "depth_colours": depth_colours(header.num_recursions),
            "routing": header.routing,
            "threshold_logits": threshold_logits(header),
            "router_type": header.config.get("router_type", "none"),
            "kv_strategy": header.kv_strategy,
            "cache_slots": [asdict(slot) for slot in header.cache_slots],
            "kv_bytes_per_entry": header.kv_bytes_per_entry,
            "num_hidden_layers": _num_hidden_layers(header.config),
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
    """Report tokens whose depth became known, the newest one that has none yet, and the model calls behind them.

    The totals are the header's at this moment: what the positions computed so far would have cost otherwise.
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
    """Close a run."""
    return {"kind": "end", "finish_reason": finish_reason}


def trace_events(trace: Trace) -> list[Event]:
    """Turn a finished or recorded run into events."""
    return [
        header_event(trace.header),
        tokens_event(trace.header, trace.tokens, None, trace.steps),
        end_event(trace.header.finish_reason),
    ]


def threshold_logits(header: TraceHeader) -> list[float | None]:
    """Return the router logit at which a token enters each recursion, `None` where no threshold decides.

    No threshold decides under other rules than the causal ones, at a first recursion that takes all tokens, and beyond
    the deepest recursion that is allowed.
    """
    recursions = header.num_recursions
    thresholds = (
        header.routing.get("thresholds")
        if header.routing.get("name") in ("causal", "aux")
        else None
    )
    if not thresholds:
        return [None] * recursions
    if len(thresholds) == 1:
        thresholds = list(thresholds) * recursions
    factors = header.config.get("capacity_factors")
    takes_all_first = factors is None or factors[0] >= 1
    deciding = range(1 if takes_all_first else 0, header.routing.get("max_depth") or recursions)
    return [
        None if index not in deciding else logit(threshold)
        for index, threshold in enumerate(thresholds)
    ]


def _num_hidden_layers(config: Mapping[str, Any]) -> int | None:
    """Unrolled depth, from the recorded config without importing the model's own (which needs transformers)."""
    names = ("num_prelude_layers", "num_coda_layers", "num_recursions", "num_layers_per_recursion")
    if not all(isinstance(config.get(name), int) for name in names):
        return None
    prelude, coda, recursions, block = (int(config[name]) for name in names)
    return prelude + recursions * block + coda
