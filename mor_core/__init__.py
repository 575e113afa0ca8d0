"""Mixture-of-Recursions models: load, train, generate with a trace, and account for every FLOP and byte.

Names are imported when first used, so that reading a trace or printing help does not wait for torch.
"""

import importlib
from typing import Any

from mor_core._register import register_when_needed

_EXPORTS = {
    "CheckpointError": "checkpoint",
    "MoRConfig": "config",
    "MoRForCausalLM": "model",
    "MoRModel": "backbone",
    "MoROutput": "model",
    "RecursionCache": "cache",
    "RecursionTrace": "recursion_trace",
    "RoutingRule": "rules",
    "Trace": "trace",
    "TraceError": "tracefile",
    "analyse_text": "generation",
    "collect_trace": "generation",
    "generate_with_trace": "generation",
    "layer_schedule": "schedule",
    "list_checkpoints": "checkpoint",
    "load_checkpoint": "checkpoint",
    "load_trace": "tracefile",
    "resolve_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
    "save_trace": "tracefile",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return __all__


register_when_needed()
