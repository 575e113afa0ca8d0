"""Facts about the model that follow from a trace header: the routers' threshold logits and the unrolled depth.

Imports neither torch nor transformers, so that the app draws a recorded run without them.
"""

from collections.abc import Mapping
from typing import Any

from mor_core.common.logistic import logit
from mor_core.traces.trace import TraceHeader


def threshold_logits(header: TraceHeader) -> list[float | None]:
    """Return for each recursion the router logit from which on a token enters it; `None` where no threshold decides.

    Thresholds decide under the rules `causal` and `aux` alone, not at a first recursion that takes every token, and not
    beyond the rule's `max_depth`.
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
    """Return the unrolled depth in layers, or `None` if the config lacks a field.

    Reads the recorded config as a dictionary, since `MoRConfig` needs transformers.
    """
    names = ("num_prelude_layers", "num_coda_layers", "num_recursions", "num_layers_per_recursion")
    if not all(isinstance(config.get(name), int) for name in names):
        return None
    prelude, coda, recursions, block = (int(config[name]) for name in names)
    return prelude + recursions * block + coda
