"""Tables of counted costs: FLOPs of a text and bytes of its cache, beside full depth and a plain Transformer.

Pure: a configuration and shares of depth in, tables out. The formulas are in `mor_core.model.accounting`, which is
imported on first use because the configuration needs transformers.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from mor_core.model.config import MoRConfig

ROUTED, FULL, PLAIN = "as routed", "full depth", "plain Transformer"


def active_shares(depth_histogram: Sequence[int]) -> list[float]:
    """Return the share of tokens that took recursion 1, 2, ... from the number of tokens at depth 1, 2, ...

    Raises:
        ValueError: the histogram counts no token.
    """
    total = sum(depth_histogram)
    if not total:
        raise ValueError(
            "depth_histogram must count at least one token, got none; evaluate or record a run"
        )
    return [sum(depth_histogram[recursion:]) / total for recursion in range(len(depth_histogram))]


def flops_table(config: "MoRConfig", num_tokens: int, shares: Sequence[float]) -> pd.DataFrame:
    """Count the FLOPs of one forward pass over a text by part of the model.

    Args:
        config: the model's configuration.
        num_tokens: length of the text.
        shares: share of tokens that take recursion 1, 2, ...

    Returns:
        Columns `model` (as routed, full depth, plain Transformer), `part` and `flops` (for the complete text).
    """
    from mor_core.model.accounting import vanilla_config

    counts = active_counts(num_tokens, shares)
    full = [num_tokens] * config.num_recursions
    rows = _parts(config, num_tokens, counts, ROUTED)
    rows += _parts(config, num_tokens, full, FULL)
    plain = vanilla_config(config)
    rows += [
        row | {"part": "unshared layers" if row["part"] == "recursion 1" else row["part"]}
        for row in _parts(plain, num_tokens, [num_tokens], PLAIN)
    ]
    return pd.DataFrame(rows)


def kv_table(
    config: "MoRConfig", lengths: Sequence[int], shares: Sequence[float], bytes_per_number: int
) -> pd.DataFrame:
    """Count the bytes of the KV cache for texts of the given lengths.

    Returns:
        Columns `num_tokens`, `strategy` and `kv_bytes`.
    """
    from mor_core.model.accounting import kv_bytes, vanilla_kv_bytes

    rows = []
    for length in lengths:
        counts = active_counts(length, shares)
        for strategy, variant in kv_strategies(config).items():
            size = kv_bytes(variant, length, counts, bytes_per_number)
            rows.append({"num_tokens": length, "strategy": strategy, "kv_bytes": size})
        size = vanilla_kv_bytes(config, length, bytes_per_number)
        rows.append({"num_tokens": length, "strategy": PLAIN, "kv_bytes": size})
    return pd.DataFrame(rows)


def active_counts(num_tokens: int, shares: Sequence[float]) -> list[int]:
    """Return the number of tokens that take each recursion, rounded."""
    return [round(num_tokens * share) for share in shares]


def _parts(
    config: "MoRConfig", num_tokens: int, counts: Sequence[int], model: str
) -> list[dict[str, object]]:
    from mor_core.model.accounting import flops_by_part

    parts = flops_by_part(config, num_tokens, counts)
    return [{"model": model, "part": part, "flops": flops} for part, flops in parts.items()]


def kv_strategies(config: "MoRConfig") -> dict[str, "MoRConfig"]:
    """Return the model's configuration with each KV strategy that it can use, by name."""
    from huggingface_hub.errors import StrictDataclassError

    if not config.has_router:
        return {"this model": config}
    variants = {}
    for name, title in (("recursion_wise", "recursion-wise"), ("shared", "shared keys")):
        try:
            variants[title] = config.replaced(kv_strategy=name)
        except StrictDataclassError:  # sharing needs a first capacity of 1
            continue
    return variants
