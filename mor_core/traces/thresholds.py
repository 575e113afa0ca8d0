"""What a trace header says of the model without the model's own code: where routers decide, and how many layers run.

Imports neither torch nor transformers, so that the app draws a recorded run without them.
"""

from collections.abc import Mapping
from typing import Any

from mor_core.common.logistic import logit
from mor_core.traces.trace import TraceHeader


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


def num_hidden_layers(config: Mapping[str, Any]) -> int | None:
    """Unrolled depth, from the recorded config without importing the model's own (which needs transformers)."""
    names = ("num_prelude_layers", "num_coda_layers", "num_recursions", "num_layers_per_recursion")
    if not all(isinstance(config.get(name), int) for name in names):
        return None
    prelude, coda, recursions, block = (int(config[name]) for name in names)
    return prelude + recursions * block + coda
