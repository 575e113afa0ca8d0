"""Mixture-of-Recursions models: load, train, generate with a trace, and count every FLOP and byte.

Public names are imported on first use, so that reading a trace or printing help does not wait for torch.
"""

import importlib
from typing import Any

from mor_core.model._register import register_when_needed

_EXPORTS = {
    "CheckpointError": "checkpoints.checkpoint",
    "MoRConfig": "model.config",
    "MoRForCausalLM": "model.model",
    "MoRModel": "model.backbone",
    "MoROutput": "model.model",
    "RecursionCache": "model.cache",
    "RecursionTrace": "model.routing_trace",
    "RoutingRule": "model.routing_rules",
    "Trace": "traces.trace",
    "TraceError": "traces.trace_file",
    "analyse_text": "generation.generation",
    "collect_trace": "generation.generation",
    "generate_with_trace": "generation.generation",
    "layer_schedule": "model.layer_schedule",
    "list_checkpoints": "checkpoints.checkpoint",
    "load_checkpoint": "checkpoints.checkpoint",
    "load_trace": "traces.trace_file",
    "resolve_checkpoint": "checkpoints.checkpoint",
    "save_checkpoint": "checkpoints.checkpoint",
    "save_trace": "traces.trace_file",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return __all__


register_when_needed()
